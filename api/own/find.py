"""Whose session or invocation a path under `/everloop/v1/` names."""

from api.context import Context
from api.own.request import OwnRequest
from contracts.errors import AwsError, ServiceError
from contracts.ids import session_key
from contracts.records import InvocationRecord


async def find_session(context: Context, request: OwnRequest) -> str:
    """The key of the session that `harnessId` and `runtimeSessionId` name.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    harness_id, name = request.labels["harnessId"], request.labels["runtimeSessionId"]
    key = session_key(context.settings.account, harness_id, name)
    if not await context.store.usage.knows(key):
        raise ServiceError(AwsError.NOT_FOUND, f"Harness {harness_id} has no session {name}.")
    return key


async def find_invocation(context: Context, request: OwnRequest) -> InvocationRecord:
    """The invocation that `invocationId` names in that session.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    session = await find_session(context, request)
    invocation_id = request.labels["invocationId"]
    found = await context.store.turns.invocation(session, invocation_id)
    if found is None:
        raise ServiceError(AwsError.NOT_FOUND, f"There is no invocation {invocation_id}.")
    return found
