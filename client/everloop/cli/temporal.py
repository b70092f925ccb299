"""Which Temporal a command speaks to."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from everloop.cli.errors import CommandError

if TYPE_CHECKING:
    from temporalio.client import Client

T = TypeVar("T")

ADDRESS_VARIABLE = "EVERLOOP_TEMPORAL_ADDRESS"
NAMESPACE_VARIABLE = "EVERLOOP_TEMPORAL_NAMESPACE"
#: A server that answers at all does in milliseconds.
_CONNECT = timedelta(seconds=10)

TemporalOption = Annotated[
    str | None,
    typer.Option(
        "--temporal-address",
        envvar=ADDRESS_VARIABLE,
        metavar="HOST:PORT",
        help="Address of Temporal. Else that of the `everloop dev` running in the data directory.",
    ),
]
NamespaceOption = Annotated[
    str,
    typer.Option(
        "--temporal-namespace",
        envvar=NAMESPACE_VARIABLE,
        metavar="NAME",
        help="Temporal namespace of Everloop's workers.",
    ),
]


def with_temporal(
    work: "Callable[[Client], Awaitable[T]]",
    *,
    address: str | None,
    namespace: str,
    data_dir: Path,
) -> T:
    """Connect to Temporal and do something with it.

    Args:
        work: what to do.
        address: host:port; None finds the `everloop dev` that runs.
        namespace: the namespace.
        data_dir: of `everloop dev`.

    Raises:
        CommandError: nobody answers there, or no address is known.
        DevError: `dev.json` cannot be read.
    """
    return asyncio.run(_with_temporal(work, address or _from_dev(data_dir), namespace))


async def _with_temporal(
    work: "Callable[[Client], Awaitable[T]]", address: str, namespace: str
) -> T:
    from temporalio.client import Client
    from temporalio.service import RPCError

    try:
        async with asyncio.timeout(_CONNECT.total_seconds()):
            client = await Client.connect(address, namespace=namespace)
    except (RuntimeError, TimeoutError) as error:
        raise CommandError(f"Temporal does not answer at {address}: {error}") from None
    try:
        return await work(client)
    except RPCError as error:
        raise CommandError(f"Temporal at {address}: {error.message}") from None


def _from_dev(data_dir: Path) -> str:
    from everloop.dev import ports
    from everloop.dev.layout import DataDir
    from everloop.dev.state import running

    layout = DataDir.at(data_dir)
    state = running(layout)
    if state is None or ports.TEMPORAL not in state.addresses:
        raise CommandError(
            f"no Temporal to speak to: everloop dev does not run on {layout.root}. Start it, or "
            f"give --temporal-address, or set {ADDRESS_VARIABLE}"
        )
    return state.addresses[ports.TEMPORAL]
