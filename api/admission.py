"""What it means to be let in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from api.caller import SIGNER, Caller
from api.request import WireRequest


@dataclass(frozen=True)
class Admission:
    """A request whose headers were let in.

    Attributes:
        check_body: judges its body, before anything is done with it; raises ServiceError.
        caller: who sent it, once the body was judged.
    """

    check_body: Callable[[bytes], None]
    caller: Caller = SIGNER


class Gate(Protocol):
    """Judges requests."""

    async def admit(self, request: WireRequest, raw_query: str) -> Admission:
        """Judge a request by its headers.

        Raises:
            ServiceError: it is not let in; AWS's names and statuses.
        """
        ...


def anything(_: bytes) -> None:
    """Let any body in."""
