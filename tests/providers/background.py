"""A played provider beside a test that does not run in an event loop."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def in_background(opening: Callable[[], AbstractAsyncContextManager[T]]) -> Generator[T]:
    """What `opening` opens, served by a thread."""
    ready = threading.Event()
    found: list[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with opening() as server:
            over = asyncio.Event()
            found.append((server, asyncio.get_running_loop(), over))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    ((server, loop, over),) = found
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
