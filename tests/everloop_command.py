"""The `everloop` command, each time a process of its own, forked from one that has imported it.

Importing takes the command longer than most of what it does, and tests start it hundreds of times.
What it loads late is loaded here too, so a test of what is loaded starts Python itself.
"""

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["__main__", "tests.everloop_command", "everloop.cli.app", "boto3", "yaml", "rich.table"]
)


def run_everloop(
    *words: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    said: str = "",
    timeout_s: int = 60,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as `subprocess.run` does.

    Args:
        words: what follows `everloop`.
        env: all of its environment; this process's when omitted.
        cwd: where it runs; this process's when omitted.
        said: its standard input.
        timeout_s: seconds that it may take.

    Raises:
        AssertionError: it takes longer than `timeout_s` seconds.
    """
    with tempfile.TemporaryDirectory() as directory:
        streams = [os.path.join(directory, name) for name in ("in", "out", "err")]
        for path, text in zip(streams, (said, "", ""), strict=True):
            Path(path).write_text(text)
        variables = dict(os.environ if env is None else env)
        where = str(cwd or Path.cwd())
        process = _CONTEXT.Process(target=_command, args=(words, variables, where, streams))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"everloop {' '.join(words)} took longer than {timeout_s} s")
        code = process.exitcode
        process.close()
        out, err = (Path(path).read_text() for path in streams[1:])
    return subprocess.CompletedProcess(["everloop", *words], code, out, err)


def _command(words: Sequence[str], env: dict[str, str], cwd: str, streams: Sequence[str]) -> None:
    for fd, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(fd, "wb", closefd=False), line_buffering=fd == 2) for fd in (1, 2)
    )
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["everloop", *words]
    from everloop.cli import main

    main()
