"""What tests of environments share: short ways to run commands in real sandboxes."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

from contracts.environment import CommandResult, EnvironmentLimits, EnvironmentSpec
from environments.channel import AgentChannel
from environments.environment import Environment

SPEC = EnvironmentSpec()
_ids = itertools.count()


async def run(
    where: AgentChannel | Environment,
    command: str,
    *,
    id: str | None = None,
    timeout_s: int = 30,
    output_bytes: int = EnvironmentLimits.output_bytes,
    variables: dict[str, str] | None = None,
) -> CommandResult:
    return await where.exec(
        id or f"call-{next(_ids)}",
        command,
        timeout_s=timeout_s,
        output_bytes=output_bytes,
        variables=variables or {},
    )


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
