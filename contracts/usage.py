"""What model calls used: tokens by kind, and money where a price is known."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from everloop.types import TokenUsage

#: Money is counted in whole trillionths of a dollar, so that sums are exact: the cheapest token of
#: LiteLLM's price table costs some thousands of them.
PICO_USD_PER_USD = 10**12


@dataclass(frozen=True)
class Usage:
    """Model calls, summed.

    Attributes:
        model_calls: how many.
        tokens: what they used.
        cost_pico_usd: what those with a known price cost; None when no call's price is known.
        unpriced_calls: how many have no known price. With any, the cost is only a part.
    """

    model_calls: int = 0
    tokens: TokenUsage = TokenUsage()
    cost_pico_usd: int | None = None
    unpriced_calls: int = 0

    @classmethod
    def of_call(cls, tokens: TokenUsage, cost_pico_usd: int | None) -> Self:
        """One call; a cost of None says that its price is not known."""
        return cls(1, tokens, cost_pico_usd, int(cost_pico_usd is None))

    @classmethod
    def total(cls, parts: Iterable["Usage"]) -> "Usage":
        """Everything together."""
        whole = Usage()
        for part in parts:
            whole += part
        return whole

    def __add__(self, other: "Usage") -> "Usage":
        """The sum; a known cost stays known beside an unknown one."""
        known = [cost for cost in (self.cost_pico_usd, other.cost_pico_usd) if cost is not None]
        return Usage(
            model_calls=self.model_calls + other.model_calls,
            tokens=self.tokens + other.tokens,
            cost_pico_usd=sum(known) if known else None,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )


@dataclass(frozen=True)
class ModelUsage:
    """What the calls of one model used."""

    model_id: str
    usage: Usage


@dataclass(frozen=True)
class CallUsage:
    """One model call.

    Attributes:
        step: which of its invocation's model calls, from 0.
        model_id: the model, as the configuration names it.
        usage: what it used.
        latency_ms: how long it took.
        at: when it ended, UTC.
    """

    step: int
    model_id: str
    usage: Usage
    latency_ms: int
    at: datetime


@dataclass(frozen=True)
class InvocationUsage:
    """What one invocation used so far."""

    invocation_id: str
    state: str
    stop_reason: str | None
    created_at: datetime
    usage: Usage


@dataclass(frozen=True)
class SessionUsage:
    """What one session used so far."""

    runtime_session_id: str
    created_at: datetime
    usage: Usage
