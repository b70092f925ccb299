"""Forks that take files along: the old session's host copies them first, then the fork is made.

A fork never stands without its files: until the copy is whole there is no fork, and from then on
the first thing that needs the files puts the copy in their place.
"""

import contextlib

from api.context import Context
from api.hosts import HostCall
from contracts.errors import AwsError, ServiceError
from contracts.sessions import ForkFiles, ForkOrder


async def fork_with_files(context: Context, order: ForkOrder, snapshot_id: str | None) -> str:
    """Make a fork with a copy of files; the same order again joins or finds it.

    Args:
        context: the API.
        order: the fork, without files.
        snapshot_id: the old session's snapshot; its files as they are now when None.

    Returns:
        The new session's key.

    Raises:
        ServiceError: as `Forks.fork`; what the host says; ThrottlingException, the copy is not
            whole yet.
    """
    if await context.store.forks.check(order):
        return order.key
    staged = order.digest[:32]
    files = await _copy(context, order, staged, snapshot_id)
    try:
        return await context.store.forks.fork(order.with_files(files))
    except ServiceError:
        with contextlib.suppress(ServiceError):
            await _ask(context, order, {"staged": staged, "drop": "1"})
        raise


async def _copy(
    context: Context, order: ForkOrder, staged: str, snapshot_id: str | None
) -> ForkFiles:
    params = {"staged": staged} | ({} if snapshot_id is None else {"id": snapshot_id})
    told = await _ask(context, order, params)
    if told["status"] != "STAGED":
        raise ServiceError(
            AwsError.THROTTLING,
            "The files are still being copied; send the same request again, with its clientToken.",
        )
    return ForkFiles(told["host"], staged)


async def _ask(context: Context, order: ForkOrder, params: dict[str, str]) -> dict[str, str]:
    call = HostCall(order.origin, "POST", "/snapshots", {**params, "target": order.key}, {})
    return await context.hosts.ask(context.store, context.settings, call)
