"""InvokeAgentRuntimeCommand and StopRuntimeSession, given the ARN of a harness."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any

from api.command_stream import CommandFollower
from api.context import Call, Context, EventStream
from api.digest import request_digest
from api.hosts import HostCall
from api.invocation_id import INVOCATION_HEADER, read_invocation_id
from api.session_calls import begin_session, fix_config, known_session, read_runtime_arn
from contracts.commands import (
    DEFAULT_TIMEOUT_S,
    MAX_TIMEOUT_S,
    MIN_TIMEOUT_S,
    NewCommand,
    StopRecord,
)
from contracts.errors import invalid
from contracts.records import DEFAULT_ENDPOINT

SESSION_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"

#: AWS documents bytes; the service model counts characters.
COMMAND_BYTES = 65536
#: Seconds that a cancelled turn has to end before its environment is stopped under it.
TURN_ENDS_S = 10.0
#: Seconds between looks whether it has.
LOOK_AGAIN_S = 0.05

#: A retry carries other ones, and they do not change what is asked.
_NOT_ASKED = ("traceParent", "traceState", "traceId", "baggage", "contentType", "accept")


async def invoke_agent_runtime_command(context: Context, call: Call) -> EventStream:
    """`InvokeAgentRuntimeCommand`: run a command once, or join it when its id is known.

    Returns:
        The event stream of the command, from its beginning.

    Raises:
        ServiceError: before anything was run: the request is refused, or no environment can be had.
    """
    params = call.params
    arn = read_runtime_arn(params["agentRuntimeArn"], context)
    if params.get("accountId", arn.account) != arn.account:
        raise invalid("accountId", f"must be {arn.account}, as in agentRuntimeArn")
    command, timeout_s = _command(params["body"])
    command_id = read_invocation_id(call.headers)
    runtime_session_id = params.get("runtimeSessionId") or str(uuid.uuid4())
    qualifier = params.get("qualifier", DEFAULT_ENDPOINT)
    config_digest, _ = await fix_config(context, arn.harness_id, qualifier)
    session = await begin_session(context, arn.harness_id, runtime_session_id)
    await context.store.commands.admit(
        session,
        NewCommand(
            id=command_id,
            command=command,
            timeout_s=timeout_s,
            request_digest=request_digest(params, without=_NOT_ASKED),
            config_digest=config_digest,
        ),
    )
    follower = CommandFollower(context, session, command_id)
    await follower.begin()
    headers = {
        INVOCATION_HEADER: command_id,
        SESSION_HEADER: runtime_session_id,
        "Cache-Control": "no-cache",
    }
    return EventStream(headers, follower.frames())


async def stop_runtime_session(context: Context, call: Call) -> Mapping[str, Any]:
    """`StopRuntimeSession`: end a session's turn and its environment; files and id stay.

    Raises:
        ServiceError: ResourceNotFoundException, there is no such session.
    """
    params = call.params
    arn = read_runtime_arn(params["agentRuntimeArn"], context)
    runtime_session_id = params["runtimeSessionId"]
    session = await known_session(context, arn.harness_id, runtime_session_id)
    qualifier = params.get("qualifier", DEFAULT_ENDPOINT)
    if qualifier != DEFAULT_ENDPOINT:
        await context.store.endpoints.get(arn.account, arn.harness_id, qualifier)
    token = params.get("clientToken") or str(uuid.uuid4())
    stop = await context.store.hosts.begin_stop(session, token)
    if not stop.done:
        await _stop(context, stop)
        await context.store.hosts.end_stop(session, token)
    return {"runtimeSessionId": runtime_session_id, "statusCode": 200}


async def _stop(context: Context, stop: StopRecord) -> None:
    """Carry out a stop; only what it found when it was first received, however often it is tried.

    The turn first, so that none of its calls starts the environment anew.
    """
    if stop.invocation_id is not None and await context.sessions.cancel(
        stop.session, stop.invocation_id
    ):
        deadline = time.monotonic() + TURN_ENDS_S
        while await context.store.hosts.running(stop.session) == stop.invocation_id:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
    if stop.generation is not None:
        call = HostCall(
            session=stop.session,
            method="POST",
            path="/stop",
            params={"generation": stop.generation},
            headers={},
        )
        await context.hosts.ask(context.store, context.settings, call)


def _command(body: dict[str, Any]) -> tuple[str, int]:
    command, timeout_s = body["command"], body.get("timeout", DEFAULT_TIMEOUT_S)
    if len(command.encode()) > COMMAND_BYTES:
        raise invalid("body.command", f"must have at most {COMMAND_BYTES} bytes")
    if "\0" in command:
        raise invalid("body.command", "must not contain NUL")
    if not MIN_TIMEOUT_S <= timeout_s <= MAX_TIMEOUT_S:
        raise invalid("body.timeout", f"must be from {MIN_TIMEOUT_S} to {MAX_TIMEOUT_S} seconds")
    return command, timeout_s
