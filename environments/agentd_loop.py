"""The single thread of agentd: descriptors that become ready, and timers.

One thread, because commands are started with a function that runs between fork and exec, which is
safe only where no other thread can hold a lock. Not asyncio, which would double the daemon's memory
and its start time.
"""

from __future__ import annotations

import heapq
import selectors
import time
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Timer:
    """A call that will be made once, unless it is cancelled before."""

    def __init__(self, action: Callable[[], None]) -> None:
        """Hold the action."""
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Make it do nothing."""
        self.action = None


class Loop:
    """Runs callbacks when descriptors are ready or time has passed."""

    def __init__(self) -> None:
        """Start with nothing to wait for."""
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self.running = True

    def watch(self, fd: int, events: int, action: Callable[[], None]) -> None:
        """Call `action` whenever `fd` is ready for `events`; replaces an earlier watch of `fd`."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, action)
        else:
            self._selector.register(fd, events, action)

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`, if it was watched. Must come before the descriptor is closed."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call `action` once after `seconds`."""
        timer = Timer(action)
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, timer))
        return timer

    def run(self) -> None:
        """Serve until `running` is False."""
        while self.running:
            wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, _ in self._selector.select(wait):
                # An earlier callback of this round may have closed it.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            while self._timers and self._timers[0][0] <= time.monotonic():
                action = heapq.heappop(self._timers)[2].action
                if action is not None:
                    action()
