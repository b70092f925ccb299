"""One run of one program: started so that it cannot outlive us, and stopped with a deadline."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from everloop.dev import exec_with_parent

#: Not SIGTERM: whoever starts a supervisor next must find ports and databases free.
PARENT_DIED_SIGNAL = signal.SIGKILL


class Child:
    """A running program, in a session of its own so that Ctrl-C at the terminal is ours alone."""

    def __init__(self, process: asyncio.subprocess.Process, log_start: int) -> None:
        """Wrap a program that was just started; use `start`."""
        self._process = process
        self.pid = process.pid
        self.log_start = log_start
        self.started = time.monotonic()

    @classmethod
    async def start(cls, argv: tuple[str, ...], env: Mapping[str, str], log: Path) -> Self:
        """Start a program with its output appended to `log`.

        Raises:
            RuntimeError: called outside the main thread, whose end alone may end the child.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread only")
        wrapper = (sys.executable, "-I", "-S", exec_with_parent.__file__)
        with log.open("ab") as output:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            output.write(f"--- {stamp} {' '.join(argv)}\n".encode())
            output.flush()
            log_start = output.tell()
            process = await asyncio.create_subprocess_exec(
                *wrapper,
                str(os.getpid()),
                str(int(PARENT_DIED_SIGNAL)),
                *argv,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log_start)

    async def wait(self) -> int:
        """Wait for its end; the exit code, negative when a signal ended it."""
        return await self._process.wait()

    async def stop(self, *, term_s: float, kill_s: float) -> bool:
        """End it: SIGTERM, and SIGKILL after `term_s` seconds. True if it had to be killed.

        Raises:
            TimeoutError: it is still there `kill_s` seconds after SIGKILL.
        """
        if self._process.returncode is not None:
            return False
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(term_s):
                await self._process.wait()
            return False
        except TimeoutError:
            self._signal(signal.SIGKILL)
            async with asyncio.timeout(kill_s):
                await self._process.wait()
            return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)
