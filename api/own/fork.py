"""Forking a session over HTTP."""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from api.body import read_value
from api.context import Context
from api.digest import request_digest
from api.harness_config import read_overrides
from api.model import DATA, wire_model
from api.own.find import find_session
from api.own.fork_files import fork_with_files
from api.own.request import OwnRequest
from api.own.sessions import show_session
from api.validate import validate
from contracts.base import WireValue
from contracts.faults import Faults
from contracts.harness import ModelConfig
from contracts.ids import session_key
from contracts.records import DEFAULT_ENDPOINT
from contracts.sessions import ForkOrder, SessionDefaults

#: `runtimeSessionId` of the service model.
_SESSION_ID = r"^[a-zA-Z0-9][a-zA-Z0-9-_]*$"


class FilesOfSnapshot(WireValue):
    """The files of a snapshot of the old session.

    Attributes:
        snapshot_id: which.
    """

    snapshot_id: str = Field(pattern=r"^snap-[0-9a-f]{32}$")


class ForkRequest(WireValue):
    """What a fork is to be.

    Attributes:
        from_seq: the newest message to take along; the newest that can be when omitted.
        runtime_session_id: the new session's name; one is made when omitted.
        harness_id: the new session's harness; the old one's when omitted.
        qualifier: the endpoint that its invocations use unless they name one.
        model: the model that its invocations use unless they name one, as InvokeHarness takes it.
        client_token: the same token gives the same fork.
        files: the files that the new session begins with: none, the old session's as they are now,
            or those of a snapshot.
    """

    from_seq: int | None = None
    runtime_session_id: str | None = Field(
        default=None, min_length=33, max_length=100, pattern=_SESSION_ID
    )
    harness_id: str | None = Field(default=None, max_length=100)
    qualifier: str | None = Field(default=None, max_length=48)
    model: dict[str, Any] | None = None
    client_token: str | None = Field(default=None, min_length=1, max_length=256)
    files: Literal["none", "current"] | FilesOfSnapshot = "none"


async def fork_session(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Begin a session with the messages of this one.

    Returns:
        The new session, with `forkedFrom`.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException, ConflictException;
            ThrottlingException, files are still being copied; ServiceQuotaExceededException, they
            are too many, or there is no room.
    """
    origin = await find_session(context, request)
    wanted = request.read(ForkRequest)
    account = context.settings.account
    harness_id = wanted.harness_id or request.labels["harnessId"]
    await context.store.harnesses.get(account, harness_id)
    if wanted.qualifier not in (None, DEFAULT_ENDPOINT):
        await context.store.endpoints.get(account, harness_id, wanted.qualifier)
    name = wanted.runtime_session_id or _name(origin, wanted.client_token)
    order = ForkOrder(
        origin=origin,
        key=session_key(account, harness_id, name),
        account=account,
        harness_id=harness_id,
        runtime_session_id=name,
        from_seq=wanted.from_seq,
        digest=request_digest({"origin": origin, **_asked(wanted)}),
        by_token=wanted.client_token is not None and wanted.runtime_session_id is None,
        defaults=_defaults(wanted),
    )
    if wanted.files == "none":
        key = await context.store.forks.fork(order)
    else:
        snapshot = wanted.files.snapshot_id if wanted.files != "current" else None
        key = await fork_with_files(context, order, snapshot)
    return show_session(await context.store.sessions.get(key))


def _asked(wanted: ForkRequest) -> dict[str, Any]:
    asked = wanted.model_dump(mode="json")
    if wanted.files == "none":
        # Forks of releases that knew no files are told again by the same request.
        del asked["files"]
    return asked


def _name(origin: str, token: str | None) -> str:
    """A name of our own: the same for the same token, so that a repetition finds its fork."""
    if token is None:
        return f"fork-{uuid.uuid4()}"
    return f"fork-{hashlib.sha256(f'{origin} {token}'.encode()).hexdigest()[:40]}"


def _defaults(wanted: ForkRequest) -> SessionDefaults | None:
    if wanted.qualifier is None and wanted.model is None:
        return None
    model = None if wanted.model is None else _model(wanted.model)
    return SessionDefaults(qualifier=wanted.qualifier, model=model)


def _model(given: dict[str, Any]) -> ModelConfig | None:
    """The model as InvokeHarness would read it."""
    invoke = wire_model().operations[(DATA, "InvokeHarness")].input
    assert invoke is not None
    shape = invoke.members["model"].shape
    faults = Faults()
    read = read_value(shape, given, "model", faults)
    faults.raise_if_any()
    validate(shape, read, faults)
    faults.raise_if_any()
    return read_overrides({"model": read}).model
