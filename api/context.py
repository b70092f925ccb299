"""What a handler is given: the process's parts, and the call it answers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.admission import Gate
from api.caller import SIGNER, Caller
from api.hosts import Hosts
from api.provisioning import Provisioner
from api.sessions import Sessions
from contracts.settings import Settings
from store import MapSource, Ring, Store


@dataclass(frozen=True)
class Context:
    """The parts of the process that handlers share."""

    settings: Settings
    store: Store
    sessions: Sessions
    provisioner: Provisioner
    ring: Ring
    gate: Gate
    operator: MapSource = field(default_factory=lambda: MapSource(None))
    hosts: Hosts = field(default_factory=Hosts)


@dataclass(frozen=True)
class Call:
    """One call of an operation.

    Attributes:
        params: its validated parameters by member name.
        headers: the request's headers by lower-case name, for those that no member is bound to.
        caller: who calls.
    """

    params: dict[str, Any]
    headers: Mapping[str, str]
    caller: Caller = SIGNER


@dataclass(frozen=True)
class EventStream:
    """An answer that goes on.

    Attributes:
        headers: HTTP headers of the answer.
        frames: encoded event-stream frames as they come.
    """

    headers: dict[str, str]
    frames: AsyncIterator[bytes]


Result = Mapping[str, Any] | EventStream
Handler = Callable[[Context, Call], Awaitable[Result]]
