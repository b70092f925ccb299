"""Calls of an engine's API: how it is said that it refuses, or does not answer."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from contracts.errors import EnvironmentUnavailable

#: An engine answers what needs no waiting within one second; it may be busy.
ANSWER_S = 30.0


@dataclass(frozen=True)
class EngineCalls:
    """Asks one engine.

    Attributes:
        engine: what messages call it.
        refusal: what its client raises for an answer that is none of success; has `status`.
        said: the words of a refusal.
        hint: what may be wrong when it does not answer.
    """

    engine: str
    refusal: type[Exception]
    said: Callable[[Any], str]
    hint: str = ""

    async def ask(
        self, call: Awaitable[Any], *, fine: int | None = None, within_s: float | None = None
    ) -> Any:
        """Await an answer.

        Args:
            call: of the engine's client.
            fine: the status of a refusal that is an answer too, None.
            within_s: seconds; `ANSWER_S` when None.

        Raises:
            EnvironmentUnavailable: it refuses, or does not answer; the message says why.
        """
        http: Any = importlib.import_module("aiohttp")
        try:
            async with asyncio.timeout(ANSWER_S if within_s is None else within_s):
                return await call
        except self.refusal as error:
            if fine is not None and getattr(error, "status", None) == fine:
                return None
            raise EnvironmentUnavailable(f"{self.engine} refused: {self.said(error)}") from None
        except (http.ClientError, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise EnvironmentUnavailable(
                f"{self.engine} does not answer: {why}{self.hint}"
            ) from None
