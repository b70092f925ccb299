"""InvokeHarness: admit the call, bring it to its session's workflow, show its stream."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from api.authorizing import (
    Target,
    authorizer_in,
    authorizer_of,
    check_method,
    mismatch,
    with_user,
)
from api.context import Call, Context, EventStream
from api.digest import request_digest
from api.harness_config import read_overrides
from api.harness_view import harness_arn
from api.invocation_id import read_invocation_id
from api.messages import read_messages
from api.stream import Follower, stream_headers
from api.usage_frames import wants_usage
from contracts.errors import ConfigGone, ServiceError, invalid
from contracts.harness import RunConfig
from contracts.ids import HarnessArn, session_key
from contracts.own_arn import check_own
from contracts.records import DEFAULT_ENDPOINT, InvocationRecord, InvocationState
from contracts.sessions import SessionDefaults
from contracts.tracing import TraceContext
from contracts.turn import TurnRequest
from store.references import find_served

BUSY_HEADER = "x-everloop-if-busy"

DEFAULT_ACTOR = "default"
#: A configuration goes with the last session that used it; twice in a row is chance enough.
CONFIG_TRIES = 3

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
    invocation = await _admit(context, call, read_invocation_id(call.headers))
    if await _is_to_be_brought(context, invocation):
        await _bring(context, invocation, enqueue, _answered(call.params["messages"]))
    follower = Follower(context.store, context.sessions, invocation, with_usage=with_usage)
    await follower.begin()
    headers = stream_headers(invocation, call.params["runtimeSessionId"])
    return EventStream(headers, follower.frames())


async def _admit(context: Context, call: Call, invocation_id: str) -> InvocationRecord:
    arn = HarnessArn.parse(call.params["harnessArn"])
    check_own(arn, context.settings)
    runtime_session_id = call.params["runtimeSessionId"]
    session = session_key(arn.account, arn.harness_id, runtime_session_id)
    qualifier = call.params.get("qualifier", DEFAULT_ENDPOINT)
    target = Target(arn, qualifier, runtime_session_id, invocation_id)
    # A repeated call keeps what its first sending found, though the harness may be gone since.
    known = await context.store.turns.invocation(session, invocation_id)
    authorizer = await authorizer_of(context.store, context.settings, target)
    check_method(call.caller, target, authorizer)
    for _ in range(CONFIG_TRIES - 1):
        try:
            return await _admit_with(context, call, target, session, known)
        except ConfigGone:
            continue
    return await _admit_with(context, call, target, session, known)


async def _admit_with(
    context: Context, call: Call, target: Target, session: str, known: InvocationRecord | None
) -> InvocationRecord:
    config_digest = (
        known.config_digest if known else await _configure(context, call, target, session)
    )
    return await context.store.turns.admit(
        session=session,
        account=target.arn.account,
        harness_id=target.arn.harness_id,
        runtime_session_id=target.runtime_session_id,
        invocation_id=target.invocation_id,
        request_digest=request_digest(call.params, without=_TRACE_MEMBERS),
        config_digest=config_digest,
        messages=read_messages(call.params["messages"]),
        actor_id=_actor_id(call),
        trace=TraceContext.read(call.params.get("traceParent"), call.params.get("traceState")),
    )


def _actor_id(call: Call) -> str:
    return call.params.get("actorId") or call.params.get("runtimeUserId") or DEFAULT_ACTOR


async def _configure(context: Context, call: Call, target: Target, session: str) -> str:
    """Fix what the invocation runs with; the digest of it."""
    defaults = await context.store.forks.defaults(session) or SessionDefaults()
    qualifier = call.params.get("qualifier") or defaults.qualifier or DEFAULT_ENDPOINT
    arn = target.arn
    harness = await find_served(context.store, arn.account, arn.harness_id, qualifier)
    authorizer = authorizer_in(harness.config)
    check_method(call.caller, target, authorizer)
    if qualifier != target.qualifier and authorizer != await authorizer_of(
        context.store, context.settings, target
    ):
        # A forked session runs another version than the one that judged the caller.
        raise mismatch()
    overrides = read_overrides(call.params)
    if overrides.model is None and defaults.model is not None:
        overrides = overrides.model_copy(update={"model": defaults.model})
    config = RunConfig.merge(
        harness_arn=harness_arn(harness, context.settings),
        harness_name=harness.name,
        harness_version=harness.version,
        actor_id=_actor_id(call),
        config=harness.config,
        overrides=overrides,
    )
    return await context.store.configs.put(config)


async def _is_to_be_brought(context: Context, invocation: InvocationRecord) -> bool:
    if invocation.state is InvocationState.OPEN:
        key = (invocation.session, invocation.invocation_id)
        return await context.store.turns.may_be_lost(*key)
    return invocation.state is InvocationState.NEW


async def _bring(
    context: Context, invocation: InvocationRecord, enqueue: bool, answered: Sequence[str]
) -> None:
    waiting = {call.id for call in await context.store.calls.pending(invocation.session)}
    # A call waits from the moment that the model asks for it; its turn may still be ending.
    request = TurnRequest(invocation.invocation_id, enqueue or not waiting.isdisjoint(answered))
    try:
        await context.sessions.invoke(invocation.session, request, waiting=bool(waiting))
    except ServiceError:
        # An update that was sent twice may be refused although its first sending was taken.
        now = await context.store.turns.invocation(invocation.session, invocation.invocation_id)
        if now is None or now.state is InvocationState.NEW:
            await _check_too_late(context, invocation.session, answered)
            raise


async def _check_too_late(context: Context, session: str, answered: Sequence[str]) -> None:
    """A busy session may be busy with the turn that a decision resumed: then say so.

    Raises:
        ServiceError: ValidationException naming an answered call and how it was decided before.
    """
    for tool_use_id, how in (await context.store.decisions.told(session, answered)).items():
        raise invalid(
            "messages.content.toolResult.toolUseId",
            f"{tool_use_id} does not wait for a result: it {how}",
        )


def _answered(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The calls whose results the newest message brings."""
    return [
        block["toolResult"]["toolUseId"]
        for message in messages[-1:]
        for block in message["content"]
        if "toolResult" in block
    ]


def _enqueue(headers: Mapping[str, str]) -> bool:
    choice = headers.get(BUSY_HEADER, "reject")
    if choice not in ("reject", "enqueue"):
        raise invalid(BUSY_HEADER, "must be enqueue or reject")
    return choice == "enqueue"
