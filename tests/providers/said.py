"""What a played provider says, before it is written in the provider's own protocol."""

import base64
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """One answer of a model.

    `calls` are (tool name, arguments). `seal` signs the thought, as only this family can read it.
    """

    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, Json], ...] = ()
    seal: str = ""

    @property
    def sealed(self) -> str:
        """The seal as providers write theirs."""
        return base64.b64encode(self.seal.encode()).decode()


class Fault(Exception):
    """The provider would answer HTTP 400 with these words."""


def require(condition: object, words: str) -> None:
    if not condition:
        raise Fault(words)


def only(value: Mapping[str, Any], allowed: Collection[str], where: str) -> None:
    """Refuse members that the protocol does not have."""
    extra = sorted(set(value) - set(allowed))
    require(not extra, f"{where}: extra inputs are not permitted: {extra}")


def check_id(value: Any, grammar: str, where: str) -> None:
    fits = isinstance(value, str) and re.fullmatch(grammar, value)
    require(fits, f"{where}: {value!r} does not match {grammar}")


def same(asked: Iterable[str], answered: Iterable[str], words: str) -> None:
    """Every call has its result, no result is for anything else, and none comes twice."""
    require(sorted(asked) == sorted(answered), f"{words}: {list(asked)} and {list(answered)}")
