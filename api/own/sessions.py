"""Sessions over HTTP: list them, look at one, read and export what was said."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from api.context import Context
from api.own import turn_files
from api.own.find import find_invocation, find_session
from api.own.request import OwnRequest
from api.own.show import show_call, show_invocation, show_message
from api.own.sse import PatientStream
from api.own.usage import show_usage
from contracts.errors import invalid
from contracts.records import InvocationState
from contracts.sessions import SessionFilter, SessionRecord, SessionStatus, TranscriptEntry
from contracts.usage import Usage

#: As AWS's list operations.
DEFAULT_LISTED = 50
MAX_LISTED = 100
#: Messages of one page: with tool results of 32 KB each, a page is a few megabytes.
DEFAULT_MESSAGES = 100
MAX_MESSAGES = 500
#: Rows that an export holds at once, and a message may have 4 MB.
EXPORT_PAGE = 20

Json = dict[str, Any]


async def list_sessions(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Sessions of the account, or of the harness in the path, newest first.

    Raises:
        ServiceError: ValidationException; ResourceNotFoundException when a harness is named that
            never was and has no sessions.
    """
    account = context.settings.account
    wanted = _filter(request)
    limit = request.whole("maxResults", default=DEFAULT_LISTED, low=1, high=MAX_LISTED)
    token = request.query.get("nextToken")
    found, after = await context.store.sessions.list(account, wanted, limit=limit, after=token)
    if not found and wanted.harness_id is not None:
        of_harness = SessionFilter(harness_id=wanted.harness_id)
        any_left, _ = await context.store.sessions.list(account, of_harness, limit=1, after=None)
        if not any_left:
            await context.store.harnesses.get(account, wanted.harness_id)
    return {"sessions": [show_session(one) for one in found], "nextToken": after}


async def get_session(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """One session: what it does, its sums, and the calls that wait for people.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    key = await find_session(context, request)
    models = await context.store.usage.of_session(key)
    pending = await context.store.calls.pending(key)
    return {
        **show_session(await context.store.sessions.get(key)),
        "usage": show_usage(Usage.total(each.usage for each in models)),
        "pendingCalls": [show_call(each) for each in pending],
        "queuedInvocations": await context.store.sessions.count(key, InvocationState.NEW),
    }


async def list_invocations(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """A session's invocations, oldest first.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException.
    """
    key = await find_session(context, request)
    limit = request.whole("maxResults", default=DEFAULT_LISTED, low=1, high=MAX_LISTED)
    token = request.query.get("nextToken")
    found, after = await context.store.sessions.invocations(key, limit=limit, after=token)
    return {"invocations": await turn_files.with_files(context, found), "nextToken": after}


async def get_invocation(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """One invocation, with what its tool calls did to files.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    (shown,) = await turn_files.with_files(context, [await find_invocation(context, request)])
    return shown


async def read_transcript(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """The messages behind `after_seq`, oldest first; `nextSeq` is the `after_seq` of the next page.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException.
    """
    key = await find_session(context, request)
    after = request.whole("after_seq", default=0, low=0, high=2**31 - 1)
    limit = request.whole("limit", default=DEFAULT_MESSAGES, low=1, high=MAX_MESSAGES)
    found = await context.store.sessions.transcript(key, after_seq=after, limit=limit + 1)
    page = found[:limit]
    return {
        "messages": await _shown(context, key, page),
        "nextSeq": page[-1].seq if len(found) > limit else None,
    }


async def export_session(context: Context, request: OwnRequest) -> Response:
    """A whole session as JSON Lines, up to what it says when the export begins.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    key = await find_session(context, request)
    record = await context.store.sessions.get(key)
    return PatientStream(_lines(context, record), media_type="application/jsonl")


async def _lines(context: Context, session: SessionRecord) -> AsyncIterator[bytes]:
    """Lines of `type` session, invocation, files, message, call, end; without the last it was cut.

    What an invocation's calls did to files follows it.
    """
    store = context.store.sessions
    yield _line("session", show_session(session))
    async for line in _invocation_lines(context, session.key):
        yield line
    seq = 0
    while seq < session.messages:
        limit = min(EXPORT_PAGE, session.messages - seq)
        entries = await store.transcript(session.key, after_seq=seq, limit=limit)
        for shown in await _shown(context, session.key, entries):
            yield _line("message", shown)
        if not entries:
            # Deleted meanwhile: the missing end tells.
            return
        seq = entries[-1].seq
    place = (0, 0)
    while calls := await store.calls(session.key, after=place, limit=EXPORT_PAGE):
        for call in calls:
            if call.seq <= session.messages:
                shown = {
                    "toolUseId": call.id,
                    "name": call.name,
                    "state": call.state.value,
                    "status": call.status,
                    "digest": call.digest,
                    "seq": call.seq,
                    "invocationId": call.invocation_id,
                }
                if call.snapshot_id is not None:
                    shown["snapshotId"] = call.snapshot_id
                yield _line("call", shown)
        place = (calls[-1].seq, calls[-1].position)
    yield _line("end", {"messages": session.messages})


async def _invocation_lines(context: Context, session: str) -> AsyncIterator[bytes]:
    token = None
    while True:
        found, token = await context.store.sessions.invocations(
            session, limit=EXPORT_PAGE, after=token
        )
        for invocation in found:
            yield _line("invocation", show_invocation(invocation))
            async for shown in turn_files.pages(context, invocation):
                yield _line("files", shown)
        if token is None:
            return


def _line(kind: str, value: Json) -> bytes:
    text = json.dumps({"type": kind, **value}, ensure_ascii=False, default=_plain)
    return f"{text}\n".encode()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")


def show_session(session: SessionRecord) -> Json:
    """A session as our JSON has it."""
    shown: Json = {
        "harnessId": session.harness_id,
        "runtimeSessionId": session.runtime_session_id,
        "actorId": session.actor_id,
        "state": session.status.value,
        "runningInvocationId": session.running,
        "messages": session.messages,
        "cursor": session.cursor,
        "createdAt": session.created_at,
        "activeAt": session.active_at,
    }
    if session.forked_seq is not None:
        shown["forkedFrom"] = {"seq": session.forked_seq, **_origin(session.forked_from)}
    if session.defaults is not None:
        shown["defaults"] = session.defaults.model_dump(
            mode="json", by_alias=True, exclude_none=True
        )
    return shown


def _origin(key: str | None) -> Json:
    if key is None:
        return {"deleted": True}
    harness_id, name = key.split(":")[2:]
    return {"harnessId": harness_id, "runtimeSessionId": name}


async def _shown(context: Context, key: str, entries: Sequence[TranscriptEntry]) -> list[Json]:
    """Messages, with the snapshots that were made before their calls."""
    if not entries:
        return []
    made = await context.store.sessions.snapshots(key, entries[0].seq, entries[-1].seq)
    return [
        {**_show_entry(entry), **({"snapshots": made[entry.seq]} if entry.seq in made else {})}
        for entry in entries
    ]


def _show_entry(entry: TranscriptEntry) -> Json:
    shown = {
        "seq": entry.seq,
        "invocationId": entry.invocation_id,
        "createdAt": entry.created_at,
        **show_message(entry.message),
    }
    return shown if entry.model_id is None else {**shown, "modelId": entry.model_id}


def _filter(request: OwnRequest) -> SessionFilter:
    given = request.query.get("state")
    if given is not None and given not in set(SessionStatus):
        raise invalid("state", f"must be {', '.join(SessionStatus)}")
    return SessionFilter(
        harness_id=request.labels.get("harnessId"),
        actor_id=request.query.get("actorId"),
        status=SessionStatus(given) if given is not None else None,
        created_after=_moment(request, "createdAfter"),
        created_before=_moment(request, "createdBefore"),
    )


def _moment(request: OwnRequest, name: str) -> datetime | None:
    given = request.query.get(name)
    if given is None:
        return None
    try:
        # In a query a plus sign that was not escaped has become a space.
        moment = datetime.fromisoformat(given.replace(" ", "+"))
    except ValueError:
        raise invalid(name, "must be a time in ISO 8601, as 2026-01-31T12:00:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
