"""The files that a turn left, over HTTP: in the answer about its invocation, or page by page."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from api.context import Context
from api.own.find import find_invocation
from api.own.request import OwnRequest
from api.own.show import show_invocation
from contracts.records import InvocationRecord, InvocationState
from contracts.turn_files import LISTED_MAX, FileChange, TurnFiles

#: Files that the answer about an invocation names; the others are a page of their own.
SHOWN = 20
DEFAULT_LISTED = 100
#: Seconds that a page waits for the look at the end of a turn: the host takes less than one.
SETTLE_S = 3.0
_POLL_S = 0.05

_OVER = (InvocationState.ENDED, InvocationState.REFUSED)

Json = dict[str, Any]


async def list_turn_files(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """What an invocation's tool calls did to files, by path.

    An invocation that has just ended is waited for until its end was looked at.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException.
    """
    invocation = await find_invocation(context, request)
    limit = request.whole("maxResults", default=DEFAULT_LISTED, low=1, high=LISTED_MAX)
    after = request.query.get("startAfter", "")
    found = await _settled(context, invocation)
    return show_turn_files(found, invocation, limit=limit, after=after)


async def with_files(context: Context, found: Sequence[InvocationRecord]) -> list[Json]:
    """Invocations of one session, each with the numbers of its files and the first of them."""
    if not found:
        return []
    ids = [each.invocation_id for each in found]
    lists = await context.store.turn_files.of(found[0].session, ids)
    return [
        {
            **show_invocation(each),
            "files": show_turn_files(
                lists.get(each.invocation_id) or TurnFiles(settled=True), each, limit=SHOWN
            ),
        }
        for each in found
    ]


async def pages(context: Context, invocation: InvocationRecord) -> AsyncIterator[Json]:
    """All that is listed of an invocation, in parts; nothing when its calls touched no files."""
    lists = context.store.turn_files
    found = await lists.get(invocation.session, invocation.invocation_id)
    after: str | None = "" if found and (found.files or found.incomplete) else None
    while found is not None and after is not None:
        shown = show_turn_files(found, invocation, limit=DEFAULT_LISTED, after=after)
        yield {"invocationId": invocation.invocation_id, **shown}
        after = shown.get("nextStartAfter")


def show_turn_files(
    found: TurnFiles, invocation: InvocationRecord, *, limit: int, after: str = ""
) -> Json:
    """Numbers, and entries behind a path."""
    wanted = [each for each in found.files if each.path > after]
    shown: Json = {
        "state": "complete" if found.settled and invocation.state in _OVER else "open",
        "created": found.created,
        "changed": found.changed,
        "removed": found.removed,
        "entries": [show_change(each) for each in wanted[:limit]],
    }
    if found.incomplete is not None:
        shown["incomplete"] = found.incomplete
    if len(wanted) > limit:
        shown["nextStartAfter"] = wanted[limit - 1].path
    left_out = found.created + found.changed + found.removed - len(found.files)
    if left_out > 0:
        shown["notListed"] = left_out
    return shown


def show_change(change: FileChange) -> Json:
    """One file."""
    shown: Json = {"path": change.path, "change": change.change.value}
    if change.bytes is not None:
        shown["size"] = change.bytes
    if change.modified_at is not None:
        shown["modifiedAt"] = change.modified_at
    if change.sha256 is not None:
        shown["sha256"] = change.sha256
    return shown


async def _settled(context: Context, invocation: InvocationRecord) -> TurnFiles:
    lists = context.store.turn_files
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = await lists.get(invocation.session, invocation.invocation_id)
        if found is None:
            return TurnFiles(settled=True)
        if found.settled or invocation.state not in _OVER or time.monotonic() > deadline:
            return found
        await asyncio.sleep(_POLL_S)
