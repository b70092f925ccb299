"""InvokeHarness: admit the call, bring it to its session's workflow, show its stream."""

from collections.abc import Mapping
from dataclasses import replace

from api.authorizing import (
    Target,
    authorizer_in,
    authorizer_of,
    check_method,
    harness_of,
    with_user,
)
from api.context import Call, Context, EventStream
from api.digest import request_digest
from api.harness_config import read_overrides
from api.harness_view import harness_arn
from api.invocation_id import INVOCATION_HEADER, read_invocation_id
from api.messages import read_messages
from api.stream import Follower
from api.usage_frames import wants_usage
from contracts.errors import ServiceError, invalid
from contracts.harness import RunConfig
from contracts.ids import HarnessArn, session_key
from contracts.own_arn import check_own
from contracts.records import DEFAULT_ENDPOINT, InvocationRecord, InvocationState
from contracts.turn import TurnRequest

BUSY_HEADER = "x-everloop-if-busy"
SESSION_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"

DEFAULT_ACTOR = "default"

#: A retry carries other ones, and they do not change what is asked.
_TRACE_MEMBERS = ("traceParent", "traceState", "traceId", "baggage")


async def invoke_harness(context: Context, call: Call) -> EventStream:
    """`InvokeHarness`: run one turn of a session, or attach to it when its id is known.

    Returns:
        The event stream of the invocation, from its beginning.

    Raises:
        ServiceError: before anything was done: the request is refused, the session is busy
            (ThrottlingException), or Temporal cannot be reached.
    """
    enqueue = _enqueue(call.headers)
    with_usage = wants_usage(call.headers)
    call = replace(call, params=with_user(call.caller, call.params))
    key = read_invocation_id(call.headers)
    invocation = await _admit(context, call, key)
    if invocation.state is InvocationState.NEW:
        await _bring(context, invocation, enqueue)
    follower = Follower(context.store, context.sessions, invocation, with_usage=with_usage)
    await follower.begin()
    headers = {
        INVOCATION_HEADER: key,
        SESSION_HEADER: call.params["runtimeSessionId"],
        "Cache-Control": "no-cache",
    }
    return EventStream(headers, follower.frames())


async def _admit(context: Context, call: Call, invocation_id: str) -> InvocationRecord:
    arn = HarnessArn.parse(call.params["harnessArn"])
    check_own(arn, context.settings)
    runtime_session_id = call.params["runtimeSessionId"]
    session = session_key(arn.account, arn.harness_id, runtime_session_id)
    # A repeated call keeps what its first sending found, though the harness may be gone since.
    known = await context.store.turns.invocation(session, invocation_id)
    target = Target(
        arn, call.params.get("qualifier", DEFAULT_ENDPOINT), runtime_session_id, invocation_id
    )
    if known:
        authorizer = await authorizer_of(context.store, context.settings, target)
        check_method(call.caller, target, authorizer)
        config_digest = known.config_digest
    else:
        config_digest = await _configure(context, call, target)
    return await context.store.turns.admit(
        session=session,
        account=arn.account,
        harness_id=arn.harness_id,
        runtime_session_id=runtime_session_id,
        invocation_id=invocation_id,
        request_digest=request_digest(call.params, without=_TRACE_MEMBERS),
        config_digest=config_digest,
        messages=read_messages(call.params["messages"]),
    )


async def _configure(context: Context, call: Call, target: Target) -> str:
    """Fix what the invocation runs with; the digest of it."""
    harness = await harness_of(context.store, target)
    check_method(call.caller, target, authorizer_in(harness.config))
    params = call.params
    config = RunConfig.merge(
        harness_arn=harness_arn(harness, context.settings),
        harness_name=harness.name,
        harness_version=harness.version,
        actor_id=params.get("actorId") or params.get("runtimeUserId") or DEFAULT_ACTOR,
        config=harness.config,
        overrides=read_overrides(params),
    )
    return await context.store.configs.put(config)


async def _bring(context: Context, invocation: InvocationRecord, enqueue: bool) -> None:
    waiting = bool(await context.store.calls.pending(invocation.session))
    request = TurnRequest(invocation.invocation_id, enqueue)
    try:
        await context.sessions.invoke(invocation.session, request, waiting=waiting)
    except ServiceError:
        # An update that was sent twice may be refused although its first sending was taken.
        now = await context.store.turns.invocation(invocation.session, invocation.invocation_id)
        if now is None or now.state is InvocationState.NEW:
            raise


def _enqueue(headers: Mapping[str, str]) -> bool:
    choice = headers.get(BUSY_HEADER, "reject")
    if choice not in ("reject", "enqueue"):
        raise invalid(BUSY_HEADER, "must be enqueue or reject")
    return choice == "enqueue"
