"""What a command in a sandbox cannot see or do."""

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from environments.channel import AgentChannel
from tests.environments.sandboxes import run

Start = Callable[..., Awaitable[AgentChannel]]


async def _python(sandbox: AgentChannel, *lines: str) -> str:
    program = "\n".join(lines)
    result = await run(sandbox, f"python3 - <<'END'\n{program}\nEND")
    return result.stdout + result.stderr


async def test_sees_no_variable_of_the_host(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLOOP_TEST_SECRET", "do-not-tell")
    sandbox = await start()
    result = await run(sandbox, "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'")
    names = {line.partition("=")[0] for line in result.stdout.splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "TMPDIR", "PWD", "SHLVL", "_", "OLDPWD"}
    assert "do-not-tell" not in result.stdout


async def test_sees_no_file_outside_of_its_mounts(sandbox: AgentChannel, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    for path in ("/root", "/home", "/etc/shadow", "/var", "/run", "/work", "/sys", secret):
        assert (await run(sandbox, f"test -e {path}")).exit_code == 1, path
    assert (await run(sandbox, f"ls {tmp_path}")).exit_code != 0
    command_lines = await run(sandbox, "cat /proc/*/cmdline | tr '\\0' ' '; cat /proc/self/mounts")
    assert str(tmp_path) not in command_lines.stdout


async def test_writes_only_to_its_volume_and_temporary_files(sandbox: AgentChannel) -> None:
    for path in ("/", "/usr", "/etc", "/opt/everloop", "/mnt"):
        assert "Read-only file system" in (await run(sandbox, f"touch {path}/x")).stderr, path
    assert (await run(sandbox, "touch /tmp/x /dev/shm/x /mnt/session/x")).exit_code == 0
    filled = await run(sandbox, "head -c 200M /dev/zero > /tmp/big")
    assert "No space left" in filled.stderr


async def test_sessions_see_none_of_each_other(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await run(one, "echo mine > f; MARK=mark sleep 60 & disown", variables={"MINE": "1"})
    assert (await run(other, "ls -A; ls -A /tmp")).stdout == ""
    assert "sleep" not in (await run(other, "cat /proc/*/cmdline | tr '\\0' ' '")).stdout
    assert "MINE" not in (await run(other, "env")).stdout
    with pytest.raises(ConnectionError):
        await run(other, "kill -9 -1")
    assert (await one.info()).processes > 0


async def test_has_no_capabilities_and_gains_no_privileges(sandbox: AgentChannel) -> None:
    status = dict(
        line.split(":\t")
        for line in (await run(sandbox, "cat /proc/self/status")).stdout.splitlines()
        if ":\t" in line
    )
    assert {
        int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    } == {0}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split()[0]) == ("1", "2", "1000")


async def test_belongs_to_a_host_user_of_its_session(start: Start, tmp_path: Path) -> None:
    await start("one")
    await start("other")
    owners = {entry.stat().st_uid for entry in (tmp_path / "data" / "volumes").iterdir()}
    assert owners == {os.getuid()} if os.getuid() else len(owners) == 2 and 0 not in owners


async def test_makes_no_namespaces_and_mounts(sandbox: AgentChannel) -> None:
    for command in ("unshare -U true", "unshare -m true", "mount -t tmpfs x /tmp"):
        assert (await run(sandbox, command)).exit_code != 0, command
    said = await _python(
        sandbox,
        "import ctypes, errno",
        "libc = ctypes.CDLL(None, use_errno=True)",
        "for number in (321, 425, 250, 438):",
        "    libc.syscall(number, 0, 0, 0, 0, 0)",
        "    print(errno.errorcode[ctypes.get_errno()])",
    )
    assert said.split() == ["EPERM"] * 4


@pytest.mark.wire("harness.network")
async def test_reaches_no_network(sandbox: AgentChannel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = await _python(
            sandbox,
            "import errno, socket",
            "def reach(*address):",
            "    with socket.socket() as s:",
            "        s.settimeout(5)",
            "        print(errno.errorcode[s.connect_ex(address)])",
            f"reach('127.0.0.1', {listener.getsockname()[1]})",
            "reach('169.254.169.254', 80)",
            "reach('8.8.8.8', 53)",
            "for family in (17, 38, 40):",
            "    try: socket.socket(family, socket.SOCK_RAW)",
            "    except OSError as e: print(errno.errorcode[e.errno])",
        )
    assert said.split() == ["ECONNREFUSED", "ENETUNREACH", "ENETUNREACH", *["EAFNOSUPPORT"] * 3]


async def test_reaches_no_abstract_socket_of_the_host(sandbox: AgentChannel) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0everloop-test-{os.getpid()}")
        listener.listen()
        said = await _python(
            sandbox,
            "import socket",
            f"print(socket.socket(socket.AF_UNIX).connect_ex('\\0everloop-test-{os.getpid()}'))",
        )
    assert said == "111\n"


async def test_commands_have_nothing_of_agentd(sandbox: AgentChannel) -> None:
    result = await run(sandbox, "ls /proc/self/fd; ls /proc/2/fd; cat /proc/2/environ /proc/2/mem")
    assert result.stdout.split() == ["0", "1", "2", "3"]
    assert result.stderr.count("Permission denied") == 3


async def test_a_link_in_the_volume_leads_nowhere_outside(
    sandbox: AgentChannel, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    await run(sandbox, f"ln -s {secret} link; ln -s /etc/shadow shadow")
    for name in ("link", "shadow"):
        said = await sandbox.file(f"view-{name}", {"command": "view", "path": name})
        assert said.startswith("Error: ")
