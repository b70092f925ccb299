"""One invocation from the caller's side: its events, shown as they come."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from everloop.cli.aws import Aws, Json
from everloop.cli.errors import ApiError, CommandError, StreamBroken
from everloop.cli.happenings import Failure, Happening, Reader
from everloop.cli.once import Once
from everloop.types import TokenUsage

#: How often a broken stream is attached to again, one wait apart: enough for a server's restart.
ATTACHES = 40
ATTACH_WAIT_S = 0.5


@dataclass
class Conversation:
    """Invocations of one session.

    Attributes:
        aws: the API.
        request: what every invocation has in common.
        show: takes each happening once.
        raw: takes each event as it came; with it a broken stream is an error and not attached to
            again, since raw events cannot be told apart from their repetition.
        reader: what the newest invocation amounts to.
        usage: summed over all invocations.
        model_calls: likewise.
    """

    aws: Aws
    request: Json
    show: Callable[[Happening], None]
    raw: Callable[[Json], None] | None = None
    reader: Reader = field(default_factory=Reader)
    usage: TokenUsage = field(default_factory=TokenUsage)
    model_calls: int = 0

    def invoke(self, messages: list[Json], invocation_id: str) -> Reader:
        """Run one invocation to its end.

        Raises:
            ApiError: the API refused it, or reported an error in the stream.
            CommandError: the API cannot be reached.
            StreamBroken: the connection went and could not be had again.
        """
        before, once = self.reader, Once()
        request = {**self.request, "messages": messages}
        for attempt in range(ATTACHES):
            self.reader = Reader(calls=dict(before.calls), pending=dict(before.pending))
            once.attach()
            try:
                self._follow(request, invocation_id, once)
                break
            except ApiError:
                raise
            except CommandError as error:
                may_retry = isinstance(error, StreamBroken) or attempt > 0
                if self.raw is not None or not may_retry or attempt == ATTACHES - 1:
                    raise
                time.sleep(ATTACH_WAIT_S)
        self.usage += self.reader.usage
        self.model_calls += self.reader.model_calls
        return self.reader

    def _follow(self, request: Json, invocation_id: str, once: Once) -> None:
        stream = self.aws.invoke_harness(request, invocation_id=invocation_id)
        for event in stream.events:
            if self.raw is not None:
                self.raw(event)
            for happening in self.reader.feed(event):
                fresh = once.fresh(happening)
                if isinstance(fresh, Failure):
                    raise ApiError(fresh.name, fresh.message)
                if fresh is not None:
                    self.show(fresh)
