"""Joining a stream: a session's log from any cursor, by any number of readers, at any time."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import Response

from api.context import Context
from api.errors import unexpected
from api.eventstream import CONTENT_TYPE as FRAMES
from api.own.find import find_invocation, find_session
from api.own.request import OwnRequest
from api.own.show import show_event
from api.own.sse import CONTENT_TYPE, HEARTBEAT, PatientStream, server_sent
from api.stream import Follower, stream_headers
from contracts.errors import AwsError, ServiceError, invalid
from contracts.events import Delta, Ended, Event, Handover, Refused, Results, Settled
from contracts.records import InvocationRecord, InvocationState

#: Under the 30 to 60 s after which proxies cut a silent connection.
HEARTBEAT_S = 15.0
#: No log gets near; what a database's integer holds.
MAX_CURSOR = 2**63 - 1


async def session_events(context: Context, request: OwnRequest) -> Response:
    """The session's log as Server-Sent Events, each with its cursor as id.

    `after` (or the header `Last-Event-ID`) is the cursor to go on behind; `follow=true` waits for
    what is still to come; `invocationId` leaves out other invocations and ends with this one.

    Returns:
        The stream; 204 when nothing is there and nothing will come, which ends a reader's tries.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException.
    """
    session = await find_session(context, request)
    after = _cursor(request)
    follow = _follow(request)
    invocation = None
    if (invocation_id := request.query.get("invocationId")) is not None:
        invocation = await context.store.turns.invocation(session, invocation_id)
        if invocation is None:
            raise ServiceError(AwsError.NOT_FOUND, f"There is no invocation {invocation_id}.")
    reader = _Reader(context, session, invocation, after)
    if follow and invocation is not None and _over(invocation) and not await reader.has_more():
        return Response(status_code=204)
    return PatientStream(
        reader.following() if follow else reader.present(),
        headers={"Cache-Control": "no-cache"},
        media_type=CONTENT_TYPE,
    )


async def invocation_stream(context: Context, request: OwnRequest) -> Response:
    """One invocation from its beginning, as InvokeHarness streams it.

    Raises:
        ServiceError: ResourceNotFoundException; what the invocation was refused with.
    """
    invocation = await find_invocation(context, request)
    follower = Follower(context.store, context.sessions, invocation)
    await follower.begin()
    headers = stream_headers(invocation, request.labels["runtimeSessionId"])
    return PatientStream(follower.frames(), headers=headers, media_type=FRAMES)


@dataclass
class _Reader:
    """One reader of a log.

    Attributes:
        context: the process's parts.
        session: the session's key.
        invocation: the only one that is read, if it is only one.
        after: the cursor of the newest row that was given.
    """

    context: Context
    session: str
    invocation: InvocationRecord | None
    after: int

    async def has_more(self) -> bool:
        """Whether rows are there that were not given."""
        return bool(await self._read(limit=1))

    async def present(self) -> AsyncIterator[bytes]:
        """What is there now, page by page."""
        teller = _Teller(self.context, self.session)
        while rows := await self._read():
            for row in rows:
                yield await teller.tell(row)
            self.after = rows[-1].cursor

    async def following(self) -> AsyncIterator[bytes]:
        """What is there and what comes."""
        teller = _Teller(self.context, self.session)
        batches = self.context.store.log.follow(
            self.session,
            after=self.after,
            invocation_id=self._invocation_id,
            heartbeat_s=HEARTBEAT_S,
        )
        async with aclosing(batches):
            # Proxies pass a response on with its first bytes.
            yield HEARTBEAT
            try:
                async for rows in batches:
                    for row in rows:
                        yield await teller.tell(row)
                        self.after = row.cursor
                        if self._ends_with(row):
                            return
                    if not rows:
                        yield HEARTBEAT
                        if await self._nothing_will_come():
                            yield server_sent("gone", {})
                            return
            except Exception as error:
                detail = unexpected(error)
                told = {"type": detail.error.value, "message": detail.message}
                yield server_sent("failure", {"error": told})

    @property
    def _invocation_id(self) -> str | None:
        return self.invocation.invocation_id if self.invocation else None

    async def _read(self, limit: int = 500) -> tuple[Event, ...]:
        return await self.context.store.log.read(
            self.session, after=self.after, invocation_id=self._invocation_id, limit=limit
        )

    def _ends_with(self, row: Event) -> bool:
        return self.invocation is not None and isinstance(row.payload, Ended | Refused)

    async def _nothing_will_come(self) -> bool:
        """Whether the session was deleted, or the run of the one invocation was stopped by hand."""
        if not await self.context.store.usage.knows(self.session):
            return True
        if self.invocation is None or await self.context.sessions.runs(self.session):
            return False
        return not await self.has_more()


class _Teller:
    """Tells rows as events; a step that begins anew is told before its first row."""

    def __init__(self, context: Context, session: str) -> None:
        self._store = context.store
        self._session = session
        self._told: tuple[str, int, int] = ("", 0, 0)

    async def tell(self, row: Event) -> bytes:
        told = b""
        if self._retracts(row):
            place = {"invocationId": row.invocation_id, "step": row.step, "attempt": row.attempt}
            # Without a cursor: it is told again to a reader that comes again.
            told = server_sent("attempt", place)
        if isinstance(row.payload, Delta):
            self._told = (row.invocation_id, row.step, row.attempt)
        return told + server_sent(row.payload.kind.value, await self._shown(row), row.cursor)

    def _retracts(self, row: Event) -> bool:
        """Whether readers may have pieces of the row's step that do not count any more."""
        place = (row.invocation_id, row.step)
        if isinstance(row.payload, Delta):
            return row.attempt > 1 and self._told != (*place, row.attempt)
        return (
            isinstance(row.payload, Settled)
            and self._told[:2] == place
            and self._told[2] < row.attempt
        )

    async def _shown(self, row: Event) -> dict[str, object]:
        match row.payload:
            case Settled(seq=seq):
                message = await self._store.transcript.message(self._session, seq)
                return show_event(row, message)
            case Results(tool_use_ids=ids) | Handover(tool_use_ids=ids):
                calls = [await self._store.calls.get(self._session, each) for each in ids]
                return show_event(row, calls=calls)
            case _:
                return show_event(row)


def _over(invocation: InvocationRecord) -> bool:
    return invocation.state in (InvocationState.ENDED, InvocationState.REFUSED)


def _cursor(request: OwnRequest) -> int:
    given = request.headers.get("last-event-id")
    if given is None:
        return request.whole("after", default=0, low=0, high=MAX_CURSOR)
    if not (given.isascii() and given.isdecimal()) or int(given) > MAX_CURSOR:
        raise invalid("Last-Event-ID", "must be the id of an event of this stream")
    return int(given)


def _follow(request: OwnRequest) -> bool:
    given = request.query.get("follow", "false")
    if given not in ("true", "false"):
        raise invalid("follow", "must be true or false")
    return given == "true"
