"""What model calls used: of a harness, of a session, of one invocation."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.context import Context
from api.own.request import OwnRequest
from api.usage_view import show_call, show_usage
from contracts.errors import AwsError, ServiceError
from contracts.ids import session_key
from contracts.usage import ModelUsage, Usage

#: Sessions or invocations on a page unless the request says otherwise.
DEFAULT_LISTED = 100
#: The most on a page: some hundreds of kilobytes of JSON.
MAX_LISTED = 1000


async def harness_usage(context: Context, request: OwnRequest) -> dict[str, Any]:
    """All sessions of a harness: the sum, by model, and of each session, newest first, by pages.

    A deleted harness still has the usage of its sessions.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    limit = _max_results(request)
    account, harness_id = context.settings.account, request.labels["harnessId"]
    models = await context.store.usage.of_harness(account, harness_id)
    after = request.query.get("nextToken")
    sessions, token = await context.store.usage.sessions(
        account, harness_id, limit=limit, after=after
    )
    if not sessions and not models:
        await context.store.harnesses.get(account, harness_id)
    return {
        "harnessId": harness_id,
        **_sums(models),
        "sessions": [
            {
                "runtimeSessionId": each.runtime_session_id,
                "createdAt": each.created_at,
                "usage": show_usage(each.usage),
            }
            for each in sessions
        ],
        **_next(token),
    }


async def session_usage(context: Context, request: OwnRequest) -> dict[str, Any]:
    """One session: the sum, by model, and of each invocation, newest first, by pages.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    limit = _max_results(request)
    session = await _session(context, request.labels)
    after = request.query.get("nextToken")
    invocations, token = await context.store.usage.invocations(session, limit=limit, after=after)
    return {
        "harnessId": request.labels["harnessId"],
        "runtimeSessionId": request.labels["runtimeSessionId"],
        **_sums(await context.store.usage.of_session(session)),
        "invocations": [
            {
                "invocationId": each.invocation_id,
                "state": each.state,
                "stopReason": each.stop_reason,
                "createdAt": each.created_at,
                "usage": show_usage(each.usage),
            }
            for each in invocations
        ],
        **_next(token),
    }


async def invocation_usage(context: Context, request: OwnRequest) -> dict[str, Any]:
    """One invocation: the sum, and every model call.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    session = await _session(context, request.labels)
    invocation_id = request.labels["invocationId"]
    if await context.store.turns.invocation(session, invocation_id) is None:
        raise ServiceError(AwsError.NOT_FOUND, f"There is no invocation {invocation_id}.")
    calls = await context.store.usage.calls(session, invocation_id)
    return {
        "harnessId": request.labels["harnessId"],
        "runtimeSessionId": request.labels["runtimeSessionId"],
        "invocationId": invocation_id,
        "usage": show_usage(Usage.total(each.usage for each in calls)),
        "modelCalls": [show_call(each) for each in calls],
    }


def _next(token: str | None) -> dict[str, str]:
    """The member that leads to the next page; absent on the last one."""
    return {} if token is None else {"nextToken": token}


def _sums(models: Sequence[ModelUsage]) -> dict[str, Any]:
    return {
        "usage": show_usage(Usage.total(each.usage for each in models)),
        "models": [{"modelId": each.model_id, "usage": show_usage(each.usage)} for each in models],
    }


async def _session(context: Context, labels: Mapping[str, str]) -> str:
    key = session_key(context.settings.account, labels["harnessId"], labels["runtimeSessionId"])
    if not await context.store.usage.knows(key):
        raise ServiceError(
            AwsError.NOT_FOUND,
            f"Harness {labels['harnessId']} has no session {labels['runtimeSessionId']}.",
        )
    return key


def _max_results(request: OwnRequest) -> int:
    return request.whole("maxResults", default=DEFAULT_LISTED, low=1, high=MAX_LISTED)
