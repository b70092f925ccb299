"""Deleting a session or an actor's data over HTTP, and the receipts."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from api.context import Context
from api.own.request import OwnRequest
from contracts.deletion import DeletionRecord
from contracts.errors import invalid
from contracts.ids import session_key

#: Seconds that the answer waits for the end. Rows and files go in one; Temporal's server takes ten
#: to twenty to delete executions.
END_S = 2.0
#: Between two looks.
LOOK_S = 0.1
#: `actorId` of the service model.
ACTOR_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-_/]*(?::[a-zA-Z0-9-_/]+)*[a-zA-Z0-9-_/]*")
MAX_ACTOR_ID = 255

_CREDENTIAL = re.compile(r"Credential=([A-Za-z0-9-]{1,128})/")


async def delete_session(context: Context, request: OwnRequest) -> Response:
    """Delete a session for good; asking again while it runs gives the same deletion.

    Returns:
        The receipt; 202 when it is not complete yet.

    Raises:
        ServiceError: ResourceNotFoundException; InternalServerException without Temporal.
    """
    account = context.settings.account
    key = session_key(account, request.labels["harnessId"], request.labels["runtimeSessionId"])
    begun = await context.store.deletions.begin_session(
        account, key, requested_by=_requester(request)
    )
    return await _carried_out(context, begun)


async def delete_actor(context: Context, request: OwnRequest) -> Response:
    """Delete every session in which an actor had a part, and what was forked from them.

    Returns:
        As `delete_session`; an actor who has none gets a receipt that counts nothing.

    Raises:
        ServiceError: ValidationException; InternalServerException without Temporal.
    """
    actor_id = request.labels["actorId"]
    if len(actor_id) > MAX_ACTOR_ID or not ACTOR_ID.fullmatch(actor_id):
        raise invalid(
            "actorId", f"must match {ACTOR_ID.pattern}, {MAX_ACTOR_ID} characters at most"
        )
    begun = await context.store.deletions.begin_actor(
        context.settings.account, actor_id, requested_by=_requester(request)
    )
    return await _carried_out(context, begun)


async def get_deletion(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """A deletion as it stands.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    return _show(
        await context.store.deletions.get(context.settings.account, request.labels["deletionId"])
    )


async def _carried_out(context: Context, begun: DeletionRecord) -> Response:
    await context.sessions.delete(begun)
    found = begun
    try:
        async with asyncio.timeout(END_S):
            while found.completed_at is None:
                await asyncio.sleep(LOOK_S)
                found = await context.store.deletions.get(begun.account, begun.id)
    except TimeoutError:
        pass
    status = 200 if found.completed_at is not None else 202
    return Response(json.dumps(_show(found)), status, media_type="application/json")


def _show(deletion: DeletionRecord) -> dict[str, Any]:
    complete = deletion.completed_at
    return {
        "deletionId": deletion.id,
        "kind": deletion.kind.value,
        "digest": deletion.digest,
        "reason": deletion.reason.value,
        "requestedBy": deletion.requested_by,
        "requestedAt": deletion.requested_at.isoformat(),
        "completedAt": complete.isoformat() if complete else None,
        "status": "COMPLETE" if complete else "RUNNING",
        "deleted": deletion.counts,
        "agents": list(deletion.agents),
    }


def _requester(request: OwnRequest) -> str:
    """The access key that signed; on a loopback API without signatures whatever was claimed."""
    found = _CREDENTIAL.search(request.headers.get("authorization", ""))
    return found[1] if found else "unsigned"
