"""Server-Sent Events of a session: read them, and join again where a connection broke."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everloop.cli.connection import Connection

Json = dict[str, Any]

#: How often in a row a connection is tried again, one wait apart: enough for a server's restart.
TRIES = 40
TRY_WAIT_S = 0.5
#: Events after which nothing comes.
_LAST = ("gone", "failure")


@dataclass(frozen=True)
class SessionEvent:
    """One event.

    Attributes:
        kind: `opened`, `refused`, `delta`, `attempt`, `message`, `results`, `handover`, `end`,
            `gone` or `failure`.
        data: what it tells.
        cursor: its place in the session's log; None of what has no place there.
    """

    kind: str
    data: Json
    cursor: int | None = None


def read_events(
    connection: "Connection",
    segments: tuple[str, ...],
    *,
    after: int,
    follow: bool,
    invocation_id: str | None,
) -> Iterator[SessionEvent]:
    """See `Sessions.events`; `segments` is the path after `/everloop/v1`."""
    from everloop.cli import own_api
    from everloop.cli.errors import ApiError, CommandError

    query = {"follow": "true" if follow else "false"}
    if invocation_id is not None:
        query["invocationId"] = invocation_id
    tries = 0
    while True:
        place = {**query, "after": str(after)}
        try:
            with own_api.stream(connection, *segments, query=place) as pieces:
                for event in parse(pieces):
                    tries = 0
                    yield event
                    after = after if event.cursor is None else event.cursor
                    if event.kind in _LAST:
                        return
            return
        except ApiError:
            raise
        except CommandError:
            tries += 1
            # Whoever cannot be reached at first is told at once.
            if tries == TRIES or (tries == 1 and after == 0 and not follow):
                raise
            time.sleep(TRY_WAIT_S)


def parse(pieces: Iterable[bytes]) -> Iterator[SessionEvent]:
    """The events of a stream, cut into pieces anywhere."""
    fields = _Fields()
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if (event := fields.take(line.decode())) is not None:
                yield event


@dataclass
class _Fields:
    """The fields of the event in the making."""

    kind: str = ""
    cursor: int | None = None
    _lines: list[str] = field(default_factory=list[str])

    def take(self, line: str) -> SessionEvent | None:
        """Take a line; the event when it ends one."""
        name, _, value = line.partition(": ")
        match name:
            case "":
                return self._end() if not line else None
            case "event":
                self.kind = value
            case "data":
                self._lines.append(value)
            case "id":
                self.cursor = int(value)
            case _:
                pass
        return None

    def _end(self) -> SessionEvent | None:
        kind, lines, cursor = self.kind, self._lines, self.cursor
        self.kind, self._lines, self.cursor = "", [], None
        if not kind:
            return None
        return SessionEvent(kind, json.loads("\n".join(lines)), cursor)
