"""InvokeHarness: admit the call, bring it to its session's workflow, show its stream."""

import uuid
from collections.abc import Mapping

from api.context import Call, Context, EventStream
from api.digest import request_digest
from api.harness_config import read_overrides
from api.harness_view import harness_arn
from api.messages import read_messages
from api.own_arn import check_own
from api.stream import INVOCATION_HEADER, Follower, stream_headers
from contracts.errors import ConfigGone, ServiceError, invalid
from contracts.harness import RunConfig
from contracts.ids import INVOCATION_ID, HarnessArn, session_key
from contracts.records import DEFAULT_ENDPOINT, HarnessRecord, InvocationRecord, InvocationState
from contracts.sessions import SessionDefaults
from contracts.turn import TurnRequest

#: AWS's SDKs send the same one with each of their own retries of a call.
SDK_INVOCATION_HEADER = "amz-sdk-invocation-id"
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
    invocation_id = _invocation_id(call.headers)
    invocation = await _admit(context, call, invocation_id)
    if invocation.state is InvocationState.NEW:
        await _bring(context, invocation, enqueue)
    follower = Follower(context.store, context.sessions, invocation)
    await follower.begin()
    headers = stream_headers(invocation, call.params["runtimeSessionId"])
    return EventStream(headers, follower.frames())


async def _admit(context: Context, call: Call, invocation_id: str) -> InvocationRecord:
    arn = HarnessArn.parse(call.params["harnessArn"])
    check_own(arn, context.settings)
    session = session_key(arn.account, arn.harness_id, call.params["runtimeSessionId"])
    # A repeated call keeps what its first sending found, though the harness may be gone since.
    known = await context.store.turns.invocation(session, invocation_id)
    for _ in range(CONFIG_TRIES - 1):
        try:
            return await _admit_with(context, call, arn, session, invocation_id, known)
        except ConfigGone:
            continue
    return await _admit_with(context, call, arn, session, invocation_id, known)


async def _admit_with(
    context: Context,
    call: Call,
    arn: HarnessArn,
    session: str,
    invocation_id: str,
    known: InvocationRecord | None,
) -> InvocationRecord:
    config_digest = known.config_digest if known else await _configure(context, call, arn, session)
    return await context.store.turns.admit(
        session=session,
        account=arn.account,
        harness_id=arn.harness_id,
        runtime_session_id=call.params["runtimeSessionId"],
        invocation_id=invocation_id,
        request_digest=request_digest(call.params, without=_TRACE_MEMBERS),
        config_digest=config_digest,
        messages=read_messages(call.params["messages"]),
        actor_id=_actor_id(call),
    )


def _actor_id(call: Call) -> str:
    return call.params.get("actorId") or call.params.get("runtimeUserId") or DEFAULT_ACTOR


async def _configure(context: Context, call: Call, arn: HarnessArn, session: str) -> str:
    """Fix what the invocation runs with; the digest of it."""
    params = call.params
    defaults = await context.store.forks.defaults(session) or SessionDefaults()
    qualifier = params.get("qualifier") or defaults.qualifier or DEFAULT_ENDPOINT
    harness = await _harness(context, arn, qualifier)
    overrides = read_overrides(params)
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


async def _harness(context: Context, arn: HarnessArn, qualifier: str) -> HarnessRecord:
    version = None
    if qualifier != DEFAULT_ENDPOINT:
        endpoint = await context.store.endpoints.get(arn.account, arn.harness_id, qualifier)
        version = endpoint.target_version
    return await context.store.harnesses.get(arn.account, arn.harness_id, version)


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


def _invocation_id(headers: Mapping[str, str]) -> str:
    given = headers.get(INVOCATION_HEADER)
    if given is not None:
        if not INVOCATION_ID.fullmatch(given):
            raise invalid(INVOCATION_HEADER, f"must match {INVOCATION_ID.pattern}")
        return given
    sdk = headers.get(SDK_INVOCATION_HEADER, "")
    return sdk if INVOCATION_ID.fullmatch(sdk) else str(uuid.uuid4())


def _enqueue(headers: Mapping[str, str]) -> bool:
    choice = headers.get(BUSY_HEADER, "reject")
    if choice not in ("reject", "enqueue"):
        raise invalid(BUSY_HEADER, "must be enqueue or reject")
    return choice == "enqueue"
