"""Attempts to leave a sandbox, each made from inside a real one as a hostile command would."""

import asyncio
import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from contracts.environment import CommandEnd, EnvironmentLimits, EnvironmentSpec
from contracts.errors import EnvironmentGone, EnvironmentUnavailable
from environments import agentd_seccomp as seccomp
from environments import channel, sockets
from environments.bubblewrap import Bubblewrap
from environments.channel import AgentChannel
from environments.host import SandboxHost
from store import MapSource
from tests.environments.kinds import makes
from tests.environments.sandboxes import SPEC, run, until

Start = Callable[..., Awaitable[AgentChannel]]


async def python(sandbox: AgentChannel, program: str) -> str:
    result = await run(sandbox, f"python3 - <<'END'\n{program}\nEND")
    return result.stdout + result.stderr


async def test_proc_shows_nothing_of_the_host(sandbox: AgentChannel, tmp_path: Path) -> None:
    said = await run(
        sandbox,
        "cat /proc/1/cmdline /proc/1/environ /proc/self/mounts; ls /proc/1/root /proc/1/cwd; "
        "cat /proc/[0-9]*/cmdline; cat /proc/1/maps",
    )
    assert str(tmp_path) not in said.stdout and "everloop.db" not in said.stdout
    hostname = await run(sandbox, "cat /proc/sys/kernel/hostname")
    assert hostname.stdout == "sandbox\n"


async def test_proc_and_sys_cannot_be_written(sandbox: AgentChannel) -> None:
    for path in (
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/user/max_user_namespaces",
        "/proc/1/oom_score_adj",
        "/proc/1/uid_map",
        "/proc/self/uid_map",
        "/proc/kcore",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/filler",
    ):
        assert (await run(sandbox, f"echo 1 > {path}")).exit_code != 0, path
    # Kernel memory is no file here.
    assert (await run(sandbox, "head -c 1 /proc/kcore")).stdout == ""
    assert (await run(sandbox, "find /sys/fs /sys/kernel -writable 2>/dev/null")).stdout == ""


async def test_agentd_cannot_be_traced_or_read(sandbox: AgentChannel) -> None:
    agentd = int((await run(sandbox, "echo $PPID")).stdout)
    said = await python(
        sandbox,
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for pid in (1, {agentd}):\n"
        "    for request in (16, 0x4206):\n"  # PTRACE_ATTACH, PTRACE_SEIZE
        "        print(libc.ptrace(request, pid, 0, 0), errno.errorcode[ctypes.get_errno()])\n"
        f"for pid in (1, {agentd}):\n"
        "    for name in ('mem', 'environ', 'fd/3', 'root/etc'):\n"
        "        try: open(f'/proc/{pid}/{name}', 'rb').read(1)\n"
        "        except OSError as error: print(errno.errorcode[error.errno])\n"
        "        else: print('read', pid, name)",
    )
    lines = said.split("\n")
    assert lines[:4] == ["-1 EPERM"] * 4
    assert set(lines[4:-1]) == {"EACCES"}, said
    assert (await sandbox.info()).running == 0


async def test_no_system_call_of_the_refused_is_made(sandbox: AgentChannel) -> None:
    """Among them: mounts, namespaces, the keyring, userfaultfd, bpf, io_uring, modules, reboot."""
    column = 0 if os.uname().machine == "x86_64" else 1
    refused = seccomp._REFUSED  # pyright: ignore[reportPrivateUsage]
    wanted = {name: numbers[column] for name, numbers in refused.items()}
    for name in (
        *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "fsopen", "move_mount"),
        *("open_tree", "add_key", "keyctl", "request_key", "userfaultfd", "bpf", "perf_event_open"),
        *("io_uring_setup", "io_uring_enter", "kexec_load", "init_module", "finit_module"),
        *("process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "reboot", "swapon"),
        *("open_by_handle_at", "name_to_handle_at", "quotactl", "settimeofday", "acct"),
    ):
        assert name in wanted, name
    numbers = [number for number in wanted.values() if number is not None]
    said = await python(
        sandbox,
        "import ctypes, errno, json\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "found = []\n"
        f"for number in {numbers}:\n"
        "    ctypes.set_errno(0)\n"
        "    libc.syscall(number, 0, 0, 0, 0, 0, 0)\n"
        "    found.append(ctypes.get_errno())\n"
        "print(json.dumps(found))",
    )
    assert set(json.loads(said)) == {errno.EPERM}


async def test_no_user_namespace_is_had_by_clone_either(sandbox: AgentChannel) -> None:
    said = await python(
        sandbox,
        "import ctypes, errno, platform\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "clone, clone3 = (56, 435) if platform.machine() == 'x86_64' else (220, 435)\n"
        "for flags in (0x10000000, 0x00020000, 0x40000000, 0x20000000):\n"
        "    r = libc.syscall(clone, flags | 17, 0, 0, 0, 0)\n"
        "    if r == 0: libc._exit(0)\n"
        "    print(r, errno.errorcode[ctypes.get_errno()])\n"
        "print(libc.syscall(clone3, 0, 0), errno.errorcode[ctypes.get_errno()])",
    )
    assert said.splitlines() == ["-1 EPERM"] * 4 + ["-1 ENOSYS"]


async def test_no_raw_or_foreign_socket_is_had(sandbox: AgentChannel) -> None:
    said = await python(
        sandbox,
        "import errno, socket\n"
        "def attempt(*a):\n"
        "    try: socket.socket(*a)\n"
        "    except OSError as e: print(errno.errorcode[e.errno])\n"
        "    else: print('made', a)\n"
        "attempt(socket.AF_INET, socket.SOCK_RAW, 1)\n"
        "attempt(socket.AF_INET6, socket.SOCK_RAW, 58)\n"
        "attempt(socket.AF_PACKET, socket.SOCK_RAW, 3)\n"
        "attempt(38, socket.SOCK_SEQPACKET)\n"  # AF_ALG
        "attempt(40, socket.SOCK_STREAM)\n"  # AF_VSOCK
        "attempt(socket.AF_BLUETOOTH, socket.SOCK_RAW)",
    )
    assert said.split() == ["EPERM", "EPERM", *["EAFNOSUPPORT"] * 4]


async def test_no_socket_of_the_host_is_in_reach(sandbox: AgentChannel) -> None:
    found = await run(
        sandbox,
        "ls -d /run/docker.sock /var/run/docker.sock /run/systemd /run/dbus /run/containerd "
        "/run/user; find / -xdev -type s 2>/dev/null; "
        # A container's first process has made agentd's there, which commands cannot connect to.
        "grep -o ' [/@].*' /proc/net/unix | grep -vx ' /run/everloop/s'",
    )
    assert found.stdout == ""


async def test_setuid_programs_give_nothing(sandbox: AgentChannel) -> None:
    said = await run(
        sandbox,
        "id -u; cp /usr/bin/id mine && chmod 6755 mine && ./mine -u; su root -c id; "
        "grep NoNewPrivs /proc/self/status",
    )
    user, still, *rest = said.stdout.splitlines()
    assert user == still != "0" and rest == ["NoNewPrivs:\t1"]


async def test_nothing_is_mounted_with_setuid_programs_or_devices(sandbox: AgentChannel) -> None:
    mounts = (await run(sandbox, "cat /proc/self/mounts")).stdout.splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
    for place in ("/", "/usr", "/mnt/session", "/tmp", "/dev/shm"):
        assert {"nosuid", "nodev"} <= set(options[place]), place


async def test_no_device_is_made(sandbox: AgentChannel) -> None:
    for command in ("mknod d b 8 0", "mknod d c 1 1"):
        assert (await run(sandbox, command)).exit_code != 0
    devices = await run(sandbox, "find /dev -type b; ls /dev")
    assert set(devices.stdout.split()) <= {
        *(
            "console",
            "core",
            "fd",
            "full",
            "mqueue",
            "null",
            "ptmx",
            "pts",
            "random",
            "shm",
            "stderr",
        ),
        *("stdin", "stdout", "tty", "urandom", "zero"),
    }


async def test_a_terminal_gets_no_input_put_in(sandbox: AgentChannel) -> None:
    said = await python(
        sandbox,
        "import errno, fcntl, os, pty\n"
        "master, slave = pty.openpty()\n"
        "for request in (0x5412, 0x541C):\n"
        "    try: fcntl.ioctl(slave, request, b'x')\n"
        "    except OSError as e: print(errno.errorcode[e.errno])\n"
        "    else: print('put')",
    )
    assert said.split() == ["EPERM", "EPERM"]


async def test_what_a_command_prints_is_never_taken_for_agentd(sandbox: AgentChannel) -> None:
    lie = json.dumps({"ok": True, "result": {"end": "exited", "exit_code": 0, "stdout": "lie"}})
    result = await run(sandbox, f"echo '{lie}'; printf '%s\\n' '{lie}' >&2; exit 7")
    assert (result.exit_code, result.stdout.strip()) == (7, lie)
    # Neither standard streams nor descriptors lead to the control channel.
    said = await run(
        sandbox,
        "for fd in 3 4 5 6 7 8 9 10 100 101 102; do (echo x >&$fd) 2>/dev/null && echo open $fd; "
        "done; ls /proc/self/fd | wc -l",
    )
    assert "open" not in said.stdout


async def test_agentd_takes_no_signal_that_its_equals_can_ignore(sandbox: AgentChannel) -> None:
    for name in ("TERM", "INT", "HUP"):
        await run(sandbox, f"kill -{name} $PPID")
    assert (await run(sandbox, "echo here")).stdout == "here\n"


async def test_a_stopped_agentd_ends_the_environment_and_nothing_else(
    host: SandboxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "COMMAND_GRACE_S", 0.5)
    async with host.use("other", SPEC) as other:
        async with host.use("s", SPEC) as environment:
            await run(environment, "echo kept > f")
            with pytest.raises(EnvironmentGone):
                await run(environment, "kill -STOP 2; sleep 60", timeout_s=1)
        async with host.use("s", SPEC) as environment:
            assert environment.restarted
            assert (await run(environment, "cat f")).stdout == "kept\n"
        assert (await run(other, "echo here")).stdout == "here\n"


async def test_a_session_cannot_signal_or_see_another(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await run(one, "echo private > f; chmod 777 . f; nohup sleep 60 >/dev/null 2>&1 &")
    said = await run(
        other,
        "for p in $(seq 3 40); do kill -0 $p 2>/dev/null && echo $p; done | grep -v $$; "
        "find / -name f -newer /proc/1 2>/dev/null | grep -v ^/proc; ls /mnt",
    )
    assert "session" in said.stdout and "/f" not in said.stdout
    assert (await one.info()).processes > 0


def _copy_programs(image: Path) -> None:
    """bash, cat and Python of this machine, with the libraries that they need."""
    asked = "import os, sys; print(os.path.realpath(sys.executable), os.path.dirname(os.__file__))"
    told = subprocess.run(["/usr/bin/python3", "-c", asked], capture_output=True, check=True)
    python_program, library = told.stdout.decode().split()
    programs = [Path(python_program), Path("/usr/bin/bash"), Path("/usr/bin/cat")]
    needed = set(programs)
    for program in (*programs, *Path(library).glob("lib-dynload/_ctypes.*")):
        listed = subprocess.run(["ldd", str(program)], capture_output=True, check=True)
        needed |= {Path(path) for path in re.findall(r"(/\S+)", listed.stdout.decode())}
    for path in needed:
        place = image / os.path.realpath(path.parent).lstrip("/") / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
    (image / "usr/bin/python3").symlink_to(python_program)
    leave_out = shutil.ignore_patterns(
        "test", "__pycache__", "dist-packages", "config-*", "idlelib"
    )
    shutil.copytree(library, image / library.lstrip("/"), ignore=leave_out, symlinks=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (image / name).symlink_to(os.readlink(f"/{name}"))


async def test_an_image_takes_the_place_of_the_hosts_programs(tmp_path: Path) -> None:
    image = tmp_path / "image"
    for name in ("etc", "opt/theirs", "srv", "usr/bin"):
        (image / name).mkdir(parents=True)
    (image / "etc" / "os-release").write_text("NAME=Mine\n")
    (image / "etc" / "shadow").write_text("root:secret\n")
    (tmp_path / "map.json").write_text(json.dumps({"images": {"public.ecr.aws/a/b": str(image)}}))
    provider = Bubblewrap(tmp_path / "data", operator=MapSource(tmp_path / "map.json"))
    spec = EnvironmentSpec(image="public.ecr.aws/a/b")
    # Nothing of the host's helps an image out that lacks a program.
    with pytest.raises(EnvironmentUnavailable, match="python3"):
        await provider.start("s", spec, generation=1)
    _copy_programs(image)
    try:
        sandbox = provider.connect((await provider.start("s", spec, generation=2)).reference)
        said = await run(sandbox, "cat /etc/os-release /etc/passwd; echo /usr/bin/* /opt/* /srv")
        assert said.stdout.startswith("NAME=Mine\nuser:x:1000")
        assert said.stdout.endswith(" /opt/everloop /opt/theirs /srv\n")
        for command in ("cat /etc/shadow", "echo x > /srv/x", "echo x > /usr/x", "/usr/bin/env"):
            assert (await run(sandbox, command)).exit_code != 0, command
    finally:
        await provider.stop_orphans(())


async def test_a_memory_bomb_ends_alone(start: Start) -> None:
    limits = EnvironmentLimits(memory_bytes=200 * 1024**2)
    spec = EnvironmentSpec(limits=limits)
    sandbox, other = await start("s", spec), await start("other", spec)
    await run(sandbox, "nohup sleep 60 >/dev/null 2>&1 &")
    bomb = "python3 -c \"x=[bytearray(b'x') * (64 << 20) for _ in range(60)]\""
    result = await run(sandbox, bomb)
    assert (result.end, result.exit_code) == (CommandEnd.OUT_OF_MEMORY, 137)
    assert (await run(sandbox, "pgrep -c sleep")).stdout == "1\n"
    assert (await run(other, "echo here")).stdout == "here\n"


def sandbox_scores(first: int) -> list[int]:
    """How soon the kernel takes each process of a sandbox, from its first on."""
    found = [int(Path(f"/proc/{first}/oom_score_adj").read_text())]
    for task in Path(f"/proc/{first}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += sandbox_scores(int(child))
    return found


async def test_a_command_cannot_have_agentd_taken_in_its_place(provider: Bubblewrap) -> None:
    started = await provider.start("s", SPEC, generation=1)
    own = sandbox_scores(int(started.reference["pid"]))
    sandbox = provider.connect(started.reference)
    lowest = await run(
        sandbox,
        "own=/proc/self/oom_score_adj; cat $own; for i in $(seq -1000 100 1000); do "
        "echo $i > $own 2>/dev/null && break; done; cat $own",
    )
    first, reached = map(int, lowest.stdout.split())
    assert first == 1000
    assert len(own) >= 2 and max(own[1:]) <= reached


@pytest.mark.parametrize("taken", [True, False], ids=["by the kernel", "by itself"])
async def test_what_a_command_left_ends_with_it_when_the_kernel_takes_it(
    provider: Bubblewrap, taken: bool
) -> None:
    started = await provider.start("s", SPEC, generation=1)
    plain = provider.connect(started.reference)
    await run(plain, "sleep 61 >/dev/null 2>&1 &")
    counts = iter([0, int(taken)])
    directory = provider._directory(started.reference)  # pyright: ignore[reportPrivateUsage]
    counting = AgentChannel(
        lambda: sockets.connect(directory / "s"), memory_kills=lambda: next(counts)
    )
    ended = await run(counting, "sleep 62 >/dev/null 2>&1 & kill -9 $$")
    assert ended.exit_code == 137
    assert ended.end is (CommandEnd.OUT_OF_MEMORY if taken else CommandEnd.EXITED)

    async def left() -> bool:
        said = await run(plain, "pgrep -a sleep | cut -d' ' -f3 | sort")
        return said.stdout == ("61\n" if taken else "61\n62\n")

    await until(left)


async def test_a_fork_bomb_in_the_background_leaves_other_sessions_alone(start: Start) -> None:
    spec = EnvironmentSpec(limits=EnvironmentLimits(processes=40))
    sandbox, other = await start("s", spec), await start("other", spec)
    bomb = "bomb() { bomb | bomb & }; bomb"
    done, said = await asyncio.gather(
        run(sandbox, bomb, timeout_s=2), run(other, "seq 5 | xargs -P5 -n1 echo | wc -l")
    )
    assert done.end in (CommandEnd.EXITED, CommandEnd.TIMED_OUT)
    assert said.stdout == "5\n"
    # Sixteen more: bubblewrap and agentd, and what ended and is not collected yet.
    assert (await sandbox.info()).processes <= 40 + 16


async def test_huge_output_is_bounded_everywhere(sandbox: AgentChannel) -> None:
    result = await run(sandbox, "yes | head -c 300M; yes | head -c 100M >&2", timeout_s=60)
    assert len(result.stdout) + len(result.stderr) < 2 * EnvironmentLimits.output_bytes
    assert result.left_out_bytes > 390_000_000
    taken = await run(sandbox, "du -sm .harness | cut -f1")
    assert int(taken.stdout) <= 256


async def test_descriptors_and_file_sizes_are_bounded(start: Start) -> None:
    limits = EnvironmentLimits(open_files=64, file_bytes=1024**2)
    sandbox = await start("s", EnvironmentSpec(limits=limits))
    said = await python(
        sandbox,
        "import os\nkept = []\ntry:\n"
        "    while True: kept.append(os.open('/dev/null', 0))\n"
        "except OSError as error: print(len(kept) < 64, error.strerror)",
    )
    assert said == "True Too many open files\n"
    big = await run(sandbox, "head -c 5M /dev/zero > big; stat -c %s big; ulimit -f unlimited")
    assert big.stdout == f"{1024**2}\n" and big.exit_code != 0


#: What is tried in containers too, all of it in one.
ANYWHERE: tuple[Callable[[AgentChannel], Awaitable[None]], ...] = (
    test_proc_and_sys_cannot_be_written,
    test_agentd_cannot_be_traced_or_read,
    test_no_system_call_of_the_refused_is_made,
    test_no_user_namespace_is_had_by_clone_either,
    test_no_raw_or_foreign_socket_is_had,
    test_no_socket_of_the_host_is_in_reach,
    test_setuid_programs_give_nothing,
    test_no_device_is_made,
    test_a_terminal_gets_no_input_put_in,
    test_what_a_command_prints_is_never_taken_for_agentd,
    test_agentd_takes_no_signal_that_its_equals_can_ignore,
)


@pytest.mark.parametrize("kind", ["docker", pytest.param("kubernetes", marks=pytest.mark.thorough)])
async def test_the_same_is_tried_in_containers(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with makes(kind, request, tmp_path) as make:
        provider = make("data")
        started = await provider.start("s", SPEC, generation=1)
        sandbox = provider.connect(started.reference)
        failed: list[str] = []
        for attempt in ANYWHERE:
            try:
                await attempt(sandbox)
            except AssertionError as error:
                failed.append(f"{attempt.__name__}: {error}")
        await provider.stop(started.reference)
        await provider.close()
        assert not failed, "\n\n".join(failed)
