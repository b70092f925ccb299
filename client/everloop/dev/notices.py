"""What the supervisor has to say, as values; how it is shown is the caller's business."""

import signal
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ready:
    """A process serves, `seconds` after it was started."""

    name: str
    address: str | None
    seconds: float
    restarts: int


@dataclass(frozen=True)
class Died:
    """A process ended, or was ended because it never became ready, and is started again."""

    name: str
    how: str
    last_line: str
    retry_s: float


@dataclass(frozen=True)
class Stopped:
    """A process ended because it was told to; `killed` when it did not listen."""

    name: str
    killed: bool


Notice = Ready | Died | Stopped


#: Takes notices as they come.
Reporter = Callable[[Notice], None]


def how_it_ended(code: int) -> str:
    """An exit code in words; negative codes are signals, as `subprocess` has them."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was ended by signal {-code} ({name})"
