"""Following an invocation: its rows of the event log, from the first, as frames.

The stream is a view: whoever leaves it changes nothing, and whoever comes again sees all of it.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

from api import usage_frames
from api.errors import unexpected
from api.frames import KEEP_ALIVE, Frame, stream_error
from api.invocation_id import INVOCATION_HEADER
from api.render import Renderer
from api.sessions import Sessions
from contracts.errors import AwsError, ServiceError
from contracts.events import Ended, Event, Handover, Refused, Results, Settled
from contracts.records import InvocationRecord
from store import Store

#: Well under the 60 s read time-out of boto3 and of common proxies.
KEEP_ALIVE_S = 15.0

_RUN_GONE = (
    "The session's workflow run ended without ending this invocation, as when it is terminated. "
    "The conversation up to its last message is kept."
)


CURSOR_HEADER = "x-everloop-cursor"
SESSION_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"


def stream_headers(invocation: InvocationRecord, runtime_session_id: str) -> dict[str, str]:
    """The headers of an invocation's stream: whose it is, and behind which cursor its rows are."""
    return {
        INVOCATION_HEADER: invocation.invocation_id,
        CURSOR_HEADER: str(invocation.first_cursor - 1),
        SESSION_HEADER: runtime_session_id,
        "Cache-Control": "no-cache",
    }


class Follower:
    """One client's view of one invocation."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        invocation: InvocationRecord,
        *,
        with_usage: bool = False,
    ) -> None:
        """Look at an invocation that has been admitted.

        Args:
            store: has its rows.
            sessions: knows whether something works on it.
            invocation: the invocation.
            with_usage: whether events tell what was used, with money.
        """
        self._with_usage = with_usage
        self._store = store
        self._sessions = sessions
        self._invocation = invocation
        self._cursor = invocation.first_cursor - 1
        self._first: tuple[Event, ...] = ()
        self._batches = store.log.follow(
            invocation.session,
            after=self._cursor,
            invocation_id=invocation.invocation_id,
            heartbeat_s=KEEP_ALIVE_S,
        )

    async def begin(self) -> None:
        """Wait until the invocation is open, or for the time of one keep-alive.

        Raises:
            ServiceError: the invocation was refused, or nothing works on it any more.
        """
        self._first = await self._next()
        if self._first and isinstance(refused := self._first[0].payload, Refused):
            await self._batches.aclose()
            raise ServiceError(
                refused.error, refused.message, reason=refused.reason, fields=refused.fields
            )
        if not self._first and await self._abandoned():
            await self._batches.aclose()
            raise ServiceError(AwsError.INTERNAL, _RUN_GONE)

    async def frames(self) -> AsyncIterator[bytes]:
        """The stream's bytes as they come, to the invocation's end."""
        renderer = Renderer()
        async with aclosing(self._batches):
            try:
                batch = self._first
                while True:
                    for event in batch:
                        frames = await self._told(renderer, event)
                        if frames:
                            yield b"".join(frame.encode() for frame in frames)
                    if renderer.ended:
                        return
                    if not batch:
                        if await self._abandoned():
                            yield stream_error(AwsError.INTERNAL, _RUN_GONE).encode()
                            return
                        yield KEEP_ALIVE.encode()
                    batch = await self._next()
            except Exception as error:
                detail = unexpected(error)
                yield stream_error(detail.error, detail.message).encode()

    async def _next(self) -> tuple[Event, ...]:
        """The next rows; none after a silence."""
        batch = await anext(self._batches)
        if batch:
            self._cursor = batch[-1].cursor
        return batch

    async def _abandoned(self) -> bool:
        """Whether no run is left to end the invocation, and the log has nothing more to say."""
        if await self._sessions.runs(self._invocation.session):
            return False
        more = await self._store.log.read(
            self._invocation.session,
            after=self._cursor,
            invocation_id=self._invocation.invocation_id,
            limit=1,
        )
        return not more

    async def _told(self, renderer: Renderer, event: Event) -> list[Frame]:
        frames = await self._render(renderer, event)
        if not self._with_usage or not (frames or renderer.ended):
            return frames
        about = (self._store, self._invocation.session, self._invocation.invocation_id)
        match event.payload:
            case Settled():
                return frames + await usage_frames.of_call(*about, event.step)
            case Ended():
                last = len(frames) - 1 if frames and frames[-1].is_exception else len(frames)
                return frames[:last] + await usage_frames.of_end(*about) + frames[last:]
            case _:
                return frames

    async def _render(self, renderer: Renderer, event: Event) -> list[Frame]:
        session = self._invocation.session
        match event.payload:
            case Settled(seq=seq):
                return renderer.feed(event, await self._store.transcript.message(session, seq))
            case Results(tool_use_ids=ids) | Handover(tool_use_ids=ids):
                calls = [await self._store.calls.get(session, each) for each in ids]
                return renderer.feed(event, calls=calls)
            case _:
                return renderer.feed(event)
