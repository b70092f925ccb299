"""Server-Sent Events, and streams whose reader may be slow but not stopped."""

import asyncio
import json
import logging
from datetime import datetime
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

CONTENT_TYPE = "text/event-stream"
#: A comment line: readers drop it, proxies see that the connection lives.
HEARTBEAT = b": \n\n"
#: Seconds that a reader may take nothing while something waits for it. It can come again at the
#: cursor where it stopped, so that a connection is not worth keeping for longer.
STALLED_S = 30.0

_log = logging.getLogger(__name__)


def server_sent(kind: str, data: Any, cursor: int | None = None) -> bytes:
    """One event.

    Args:
        kind: its `event` field.
        data: its `data`, as JSON on one line.
        cursor: its `id`, which a reader that comes again sends as `Last-Event-ID`.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=_plain)
    place = "" if cursor is None else f"id: {cursor}\n"
    return f"{place}event: {kind}\ndata: {text}\n\n".encode()


class PatientStream(StreamingResponse):
    """A stream that is cut when its reader takes nothing for `STALLED_S`.

    What is written waits in the socket's buffer only; rows are read as the reader takes them.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream (ASGI)."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            _log.info("a reader took nothing for %.0f s and was cut off", STALLED_S)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")
