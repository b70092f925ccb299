"""What measurements run on: an instant model, and one Everloop that starts when it is needed."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.model_server import ModelServer
from environments.bubblewrap import Bubblewrap
from tests.e2e.stack import Stack

#: Seconds without a call until a measurement's environments stop; AWS's model takes no less.
IDLE_S = 60


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        rounds: interleaved rounds; medians are reported.
        quick: leave out what takes minutes.
    """

    rounds: int = 3
    quick: bool = False


class Bed:
    """Everything a measurement needs; it is stopped and cleaned at the end."""

    def __init__(self, scratch: Path, options: Options) -> None:
        """Work in an empty directory; nothing is started yet."""
        self.scratch = scratch
        self.options = options
        self.server = ModelServer()
        self.model_url = ""
        self._stack: Stack | None = None

    def __enter__(self) -> "Bed":
        """Start the model."""
        self.model_url = self.server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what was started, environments included."""
        try:
            if self._stack is not None:
                self._stack.stop()
                asyncio.run(Bubblewrap(self._stack.data_dir).stop_orphans(()))
        finally:
            self.server.stop()

    @property
    def stack(self) -> Stack:
        """A running Everloop, the same for all who ask."""
        if self._stack is None:
            stack = Stack(self.scratch / "stack")
            self._stack = stack
            stack.start()
        return self._stack

    def harness(self, **members: object) -> str:
        """Create a harness whose model is ours; its ARN."""
        lifecycle = {"idleRuntimeSessionTimeout": IDLE_S}
        return self.stack.harness(
            model={"liteLlmModelConfig": {"modelId": "openai/bench", "apiBase": self.model_url}},
            environment={
                "agentCoreRuntimeEnvironment": {"lifecycleConfiguration": lifecycle},
            },
            **members,
        )
