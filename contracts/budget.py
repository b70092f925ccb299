"""Budgets: what the model calls of a session, or of all sessions of a harness, may use.

They are looked at before each model call, so that the call which meets one is the last: what runs
is never cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from contracts.approvals import Terms
from contracts.usage import PICO_USD_PER_USD, Usage

#: A budget that nobody can spend is a slip of the pen; sums of trillionths of dollars must also fit
#: the 64 bits that databases have.
MAX_USD = 1_000_000
MAX_TOKENS = 10**15

PICO_PER_MICRO = 10**6
MICRO_PER_USD = 10**6

#: What decisions about budgets are called where those about calls name the tool.
BUDGET_TOOL = "budget"
#: Arguments of such a decision, which an approval adds to the session's limits.
ADD_USD, ADD_TOKENS = "addUsd", "addTokens"
#: JSON schema of those arguments.
ADDS: dict[str, Any] = {
    "type": "object",
    "properties": {
        ADD_USD: {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_USD},
        ADD_TOKENS: {"type": "integer", "minimum": 1, "maximum": MAX_TOKENS},
    },
    "additionalProperties": False,
    "minProperties": 1,
}

Usd = Annotated[float, Field(gt=0, le=MAX_USD, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class Budget(Terms):
    """Limits; each that is given holds. With `ask`, the terms say how more is decided about.

    Attributes:
        usd_per_session: dollars that a session may cost; calls without a known price cost nothing.
        tokens_per_session: tokens of all kinds that it may use, those of caches included.
        usd_per_harness: dollars that all sessions of the harness may cost together.
        tokens_per_harness: tokens that they may use together.
        at_limit: what happens then: `ask` pauses the turn until people decide, `stop` ends it.
    """

    usd_per_session: Usd | None = None
    tokens_per_session: Tokens | None = None
    usd_per_harness: Usd | None = None
    tokens_per_harness: Tokens | None = None
    at_limit: Literal["ask", "stop"] = "ask"

    @model_validator(mode="after")
    def _makes_sense(self) -> "Budget":
        if not self.of_session and not self.of_harness:
            raise ValueError(
                "must have usdPerSession, tokensPerSession, usdPerHarness or tokensPerHarness"
            )
        # A stored budget has every member, those that were not given with their defaults.
        given = [
            name
            for name, member in Terms.model_fields.items()
            if getattr(self, name) != member.get_default()
        ]
        if self.at_limit == "stop" and given:
            raise ValueError(f"only atLimit ask goes with {', '.join(map(to_camel, given))}")
        return self

    @property
    def of_session(self) -> bool:
        """Whether it limits a session."""
        return self.usd_per_session is not None or self.tokens_per_session is not None

    @property
    def of_harness(self) -> bool:
        """Whether it limits all sessions of the harness together."""
        return self.usd_per_harness is not None or self.tokens_per_harness is not None

    @property
    def terms(self) -> Terms:
        """How a decision about more is taken."""
        return Terms.model_construct(**{name: getattr(self, name) for name in Terms.model_fields})

    def overruns(self, session: Usage, harness: Usage, more: "More") -> tuple["Overrun", ...]:
        """The limits that are met.

        Args:
            session: what the session used.
            harness: what all sessions of the harness used.
            more: what people have added for the session.
        """
        limits = (
            ("usdPerSession", _pico(self.usd_per_session), _cost(session), more.pico_usd),
            ("usdPerHarness", _pico(self.usd_per_harness), _cost(harness), more.pico_usd),
            ("tokensPerSession", self.tokens_per_session, _tokens(session), more.tokens),
            ("tokensPerHarness", self.tokens_per_harness, _tokens(harness), more.tokens),
        )
        return tuple(
            Overrun(name, limit, used, added)
            for name, limit, used, added in limits
            if limit is not None and used >= limit + added
        )


@dataclass(frozen=True)
class More:
    """What people have added to a session's limits: trillionths of dollars, and tokens."""

    pico_usd: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Overrun:
    """A limit that is met; all in trillionths of dollars, or in tokens.

    Attributes:
        name: the limit's member.
        limit: the limit.
        used: what was used.
        added: what people have added to the limit.
    """

    name: str
    limit: int
    used: int
    added: int

    @property
    def member(self) -> str:
        """What an approval adds."""
        return ADD_USD if self.name.startswith("usd") else ADD_TOKENS

    @property
    def proposed(self) -> float | int:
        """What to add unless somebody says otherwise: the limit once more, from now on."""
        more = self.used - self.limit - self.added + self.limit
        if self.member == ADD_TOKENS:
            return more
        return min(-(-more // PICO_PER_MICRO) / MICRO_PER_USD, MAX_USD)

    def __str__(self) -> str:
        """For people: `usdPerSession: 1.02 of 1 dollars used`."""
        allowed = self.limit + self.added
        if self.member == ADD_TOKENS:
            return f"{self.name}: {self.used} of {allowed} tokens used"
        used, whole = (f"{each / PICO_USD_PER_USD:.6f}" for each in (self.used, allowed))
        return f"{self.name}: {used} of {whole} dollars used"


def added(arguments: Mapping[str, Any]) -> More:
    """What an approved decision about a budget adds."""
    return More(_pico(arguments.get(ADD_USD)) or 0, arguments.get(ADD_TOKENS) or 0)


def _pico(usd: float | None) -> int | None:
    # By way of its shortest text: 0.1 is a tenth, and not what a binary fraction comes next to it.
    return None if usd is None else int(Decimal(repr(usd)) * PICO_USD_PER_USD)


def _cost(used: Usage) -> int:
    return used.cost_pico_usd or 0


def _tokens(used: Usage) -> int:
    return sum(used.tokens.model_dump().values())
