"""Snapshots of a session's files: make one, list them, put one back, remove one.

Its host does the work. What takes longer than an answer may take is told as under way; the same
request again joins it.
"""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from api.context import Context
from api.hosts import HostCall
from api.own.request import OwnRequest
from api.session_calls import known_session
from contracts.base import WireValue


class SnapshotRequest(WireValue):
    """What a new snapshot is to be.

    Attributes:
        label: a name for people.
        client_token: the same token gives the same snapshot.
    """

    label: str = Field(default="", max_length=200)
    client_token: str | None = Field(default=None, min_length=1, max_length=256)


class RestoreRequest(WireValue):
    """How a snapshot is put back.

    Attributes:
        client_token: under the same token it is put back once, however often it is asked.
    """

    client_token: str | None = Field(default=None, min_length=1, max_length=256)


async def create_snapshot(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Keep the session's files as they are now.

    Returns:
        The snapshot, `READY` or `CREATING`.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException, ConflictException,
            ServiceQuotaExceededException.
    """
    wanted = request.read(SnapshotRequest)
    session = await _session(context, request)
    params = {"id": _id(session, wanted.client_token), "label": wanted.label}
    return await _ask(context, session, "POST", params)


async def list_snapshots(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """The session's snapshots, oldest first.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    return await _ask(context, await _session(context, request), "GET", {})


async def restore_snapshot(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Stop the session's environment and put its files back.

    Returns:
        `status`: `RESTORED` or `RESTORING`.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException, ConflictException,
            ServiceQuotaExceededException.
    """
    wanted = request.read(RestoreRequest)
    token = wanted.client_token or uuid.uuid4().hex
    digest = hashlib.sha256(token.encode()).hexdigest()
    params = {"id": request.labels["snapshotId"], "restore": "1", "token": digest}
    return await _ask(context, await _session(context, request), "POST", params)


async def delete_snapshot(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Remove a snapshot.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException, ConflictException.
    """
    params = {"id": request.labels["snapshotId"]}
    return await _ask(context, await _session(context, request), "DELETE", params)


async def _session(context: Context, request: OwnRequest) -> str:
    labels = request.labels
    return await known_session(context, labels["harnessId"], labels["runtimeSessionId"])


async def _ask(
    context: Context, session: str, method: str, params: dict[str, str]
) -> Mapping[str, Any]:
    call = HostCall(session, method, "/snapshots", params, {})
    return await context.hosts.ask(context.store, context.settings, call)


def _id(session: str, token: str | None) -> str:
    if token is None:
        return f"snap-{uuid.uuid4().hex}"
    return f"snap-{hashlib.sha256(f'{session} {token}'.encode()).hexdigest()[:32]}"
