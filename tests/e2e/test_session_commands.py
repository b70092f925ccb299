"""`everloop exec`, `shell`, `files` and `stop`, as a person uses them."""

import contextlib
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from fcntl import ioctl
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from tests.e2e.stack import Stack, new_session


def command(stack: Stack, *words: str) -> list[str]:
    first, *rest = words
    split = rest.index("--") if "--" in rest else len(rest)
    options = ["--data-dir", str(stack.data_dir)]
    where = ["files", rest[0]] if first == "files" else [first]
    before = rest[1:split] if first == "files" else rest[:split]
    return [sys.executable, "-m", "everloop.cli", *where, *before, *options, *rest[split:]]


def everloop(stack: Stack, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(stack, *words), capture_output=True, timeout=60, check=False)


@pytest.fixture
def session(stack: Stack) -> str:
    return f"{stack.harness()}/{new_session()}"


def url(stack: Stack, session: str, kind: str, **query: str) -> str:
    arn, _, name = session.rpartition("/")
    harness = arn.rpartition("/")[2]
    base = f"{stack.endpoint}/everloop/v1/harnesses/{harness}/sessions/{name}"
    return f"{base}/{kind}?{urlencode(query)}"


def test_exec_passes_output_and_exit_code_through(stack: Stack, session: str) -> None:
    done = everloop(stack, "exec", session, "--", "echo out; echo err >&2; exit 9")
    assert (done.returncode, done.stdout) == (9, b"out\n")
    assert done.stderr == b"err\n"
    words = everloop(stack, "exec", session, "--json", "--", "printf", "%s|", "a b", "$HOME")
    assert [json.loads(line) for line in words.stdout.splitlines()] == [
        {"contentDelta": {"stdout": "a b|$HOME|"}},
        {"contentStop": {"exitCode": 0, "status": "COMPLETED"}},
    ]
    late = everloop(stack, "exec", session, "--timeout", "1", "--", "sleep 60")
    assert (late.returncode, late.stderr) == (124, b"everloop: ended after 1 seconds\n")


def test_files_go_in_and_out_whether_or_not_the_environment_runs(
    stack: Stack, session: str, tmp_path: Path
) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.bin"
    small.write_text("small\n")
    # Two parts and a bit.
    large.write_bytes(os.urandom(9 * 1024**2))
    for file in (small, large):
        sent = everloop(stack, "files", "put", session, str(file), "in/")
        assert sent.returncode == 0, sent.stderr
    counted = everloop(
        stack, "exec", session, "--", "cat in/small.txt; sha256sum in/*; cp -r in out"
    )
    assert counted.stdout.startswith(b"small\n")
    stopped = everloop(stack, "stop", session)
    assert stopped.returncode == 0, stopped.stderr
    listed = json.loads(everloop(stack, "files", "ls", session, "out", "--json").stdout)
    assert [(e["name"], e["size"]) for e in listed["entries"]] == [
        ("large.bin", 9 * 1024**2),
        ("small.txt", 6),
    ]
    got = tmp_path / "got"
    fetched = everloop(stack, "files", "get", session, "/mnt/session/out/large.bin", str(got))
    assert fetched.returncode == 0, fetched.stderr
    assert got.read_bytes() == large.read_bytes()
    assert everloop(stack, "files", "rm", session, "-r", "out").returncode == 0
    missing = everloop(stack, "files", "ls", session, "out")
    assert b"ResourceNotFoundException: There is no 'out' in the session." in missing.stderr


def test_a_sessions_links_show_nothing_of_the_host(stack: Stack, session: str) -> None:
    everloop(stack, "exec", session, "--", "ln -s /etc/shadow shadow; ln -s ../.. up")
    for path in ("shadow", "up/keyring.json", "up", "/etc/shadow", "../x"):
        with pytest.raises(HTTPError, match="400") as refused:
            urllib.request.urlopen(url(stack, session, "files", path=path))
        with refused.value as answer:
            assert b"out of the session's volume" in answer.read() or path.startswith("/")


def test_the_page_of_a_sessions_files_runs_nothing_of_the_sessions(
    stack: Stack, session: str
) -> None:
    script = "<script>alert(1)</script>"
    made = f"mkdir '{script.replace('/', '')}'; echo '{script}' > page.html"
    everloop(stack, "exec", session, "--", made)
    with urllib.request.urlopen(url(stack, session, "files/browse")) as page:
        html, policy = page.read().decode(), page.headers["content-security-policy"]
    assert "&lt;script&gt;" in html and "<script" not in html
    assert policy.startswith("default-src 'none'")
    with urllib.request.urlopen(url(stack, session, "files/browse", path="page.html")) as file:
        assert file.read().decode() == f"{script}\n"
        assert file.headers["content-disposition"].startswith("attachment")
        assert file.headers["content-security-policy"].startswith("sandbox")
    foreign = urllib.request.Request(
        url(stack, session, "files"), headers={"Origin": "https://evil.example"}
    )
    with pytest.raises(HTTPError, match="403") as refused:
        urllib.request.urlopen(foreign)
    refused.value.close()


class Terminal:
    """A command on a real terminal."""

    def __init__(self, words: list[str]) -> None:
        self.shown = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(words[0], words)
        self.resize(100, 30)

    def resize(self, columns: int, rows: int) -> None:
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text.encode() not in self.shown:
            assert time.monotonic() < deadline, self.shown.decode(errors="replace")
            if select.select([self.fd], [], [], 0.2)[0]:
                self.shown += os.read(self.fd, 65536)

    def end(self) -> int:
        """Its exit status."""
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65536):
                self.shown += data
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_shell_on_a_terminal_is_left_taken_up_again_and_ends_with_its_exit_code(
    stack: Stack, session: str
) -> None:
    first = Terminal(command(stack, "shell", session))
    first.type("x=kept; stty size; echo be$((0))gun\n")
    first.until("be0gun")
    first.resize(70, 20)
    first.type("stty size\n")
    first.until("20 70")
    first.type("\x1d")
    assert first.end() == 0
    shell_id = first.shown.decode().rpartition("--shell-id ")[2].split()[0]
    second = Terminal(command(stack, "shell", session, "--shell-id", shell_id))
    second.until("be0gun")
    second.type("echo $x; exit 5\n")
    second.until("kept")
    assert second.end() == 5
    unknown = everloop(stack, "shell", session, "--shell-id", "unknown")
    assert unknown.returncode == 1 and b"there is no such shell" in unknown.stderr
