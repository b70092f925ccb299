"""Cancelling an invocation: its turn ends with `interrupted`, or it never begins."""

import asyncio
from contextlib import aclosing
from typing import Any

from api.context import Context
from api.own.find import find_invocation
from api.own.request import OwnRequest
from contracts.errors import AwsError, ServiceError
from contracts.events import Ended, Refused
from contracts.messages import StopReason
from contracts.records import InvocationRecord, InvocationState

#: Seconds that the answer waits for the end: a cancelled turn ends in milliseconds while a worker
#: lives, and when it died another one takes over after seconds.
END_S = 20.0

_OVER = (InvocationState.ENDED, InvocationState.REFUSED)


async def cancel_invocation(context: Context, request: OwnRequest) -> dict[str, Any]:
    """End an invocation now, and tell how it ended. Cancelling again answers the same.

    Returns:
        `state` is `ended`, or what it still is when nothing ended it within `END_S`: the wish is
        kept, and is carried out as soon as a worker lives.

    Raises:
        ServiceError: ResourceNotFoundException; ConflictException when it has ended otherwise, or
            waits for people and is not running.
    """
    invocation = await find_invocation(context, request)
    session, invocation_id = invocation.session, invocation.invocation_id
    if invocation.state not in _OVER:
        if not await context.sessions.cancel(session, invocation_id):
            # No run is open, so nobody else would end it, and the next run finds it ended.
            await context.store.turns.close(
                session, invocation_id, stop_reason=StopReason.INTERRUPTED, error=None
            )
        await _until_over(context, invocation)
        invocation = await find_invocation(context, request)
    if invocation.state in _OVER and invocation.stop_reason is not StopReason.INTERRUPTED:
        raise await _too_late(context, invocation)
    return {
        "harnessId": request.labels["harnessId"],
        "runtimeSessionId": request.labels["runtimeSessionId"],
        "invocationId": invocation_id,
        "state": invocation.state.value,
        "stopReason": invocation.stop_reason,
    }


async def _until_over(context: Context, invocation: InvocationRecord) -> None:
    batches = context.store.log.follow(
        invocation.session,
        after=invocation.first_cursor - 1,
        invocation_id=invocation.invocation_id,
    )
    try:
        async with asyncio.timeout(END_S), aclosing(batches):
            async for batch in batches:
                if any(isinstance(event.payload, Ended | Refused) for event in batch):
                    return
    except TimeoutError:
        return


async def _too_late(context: Context, invocation: InvocationRecord) -> ServiceError:
    invocation_id = invocation.invocation_id
    if invocation.stop_reason is StopReason.TOOL_USE:
        waiting = [call.id for call in await context.store.calls.pending(invocation.session)]
        if waiting:
            return ServiceError(
                AwsError.CONFLICT,
                f"Invocation {invocation_id} does not run: it handed over to people. Answer the "
                f"calls that wait, or reject them through decide: {', '.join(waiting)}.",
            )
    how = invocation.stop_reason.value if invocation.stop_reason else "an error"
    return ServiceError(
        AwsError.CONFLICT, f"Invocation {invocation_id} has ended before, with {how}."
    )
