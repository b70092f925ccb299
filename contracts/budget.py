"""Budgets: what the model calls of a session, or of all sessions of a harness, may use.

They are looked at before each model call, so that the call which meets one is the last: what runs
is never cut.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.base import WireValue
from contracts.usage import PICO_USD_PER_USD, Usage

#: A budget that nobody can spend is a slip of the pen; sums of trillionths of dollars must also fit
#: the 64 bits that databases have.
MAX_USD = 1_000_000
MAX_TOKENS = 10**15

Usd = Annotated[float, Field(gt=0, le=MAX_USD, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class Budget(WireValue):
    """Limits; each that is given holds.

    Attributes:
        usd_per_session: dollars that a session may cost; calls without a known price cost nothing.
        tokens_per_session: tokens of all kinds that it may use, those of caches included.
        usd_per_harness: dollars that all sessions of the harness may cost together.
        tokens_per_harness: tokens that they may use together.
        at_limit: what happens then: `stop` ends the turn.
    """

    usd_per_session: Usd | None = None
    tokens_per_session: Tokens | None = None
    usd_per_harness: Usd | None = None
    tokens_per_harness: Tokens | None = None
    at_limit: Literal["stop"]

    @model_validator(mode="after")
    def _limits_something(self) -> "Budget":
        if not self.of_session and not self.of_harness:
            raise ValueError(
                "must have usdPerSession, tokensPerSession, usdPerHarness or tokensPerHarness"
            )
        return self

    @property
    def of_session(self) -> bool:
        """Whether it limits a session."""
        return self.usd_per_session is not None or self.tokens_per_session is not None

    @property
    def of_harness(self) -> bool:
        """Whether it limits all sessions of the harness together."""
        return self.usd_per_harness is not None or self.tokens_per_harness is not None

    def spent_by_session(self, used: Usage) -> bool:
        """Whether a session that used so much has met a limit."""
        return _is_spent(used, self.usd_per_session, self.tokens_per_session)

    def spent_by_harness(self, used: Usage) -> bool:
        """Whether a harness whose sessions used so much has met a limit."""
        return _is_spent(used, self.usd_per_harness, self.tokens_per_harness)


def _is_spent(used: Usage, usd: float | None, tokens: int | None) -> bool:
    kinds = used.tokens.model_dump().values()
    if tokens is not None and sum(kinds) >= tokens:
        return True
    # By way of its shortest text: 0.1 is a tenth, and not what a binary fraction comes next to it.
    cost = used.cost_pico_usd or 0
    return usd is not None and cost >= Decimal(repr(usd)) * PICO_USD_PER_USD
