"""What stands between a model's token and the reader: direct call beside InvokeHarness."""

import http.client
import json
import statistics
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.bed import Bed
from bench.model_server import ModelServer
from bench.report import Figure
from tests.e2e.stack import Stack, new_session, say

#: Milliseconds that may be added to the first token and to each.
FIRST_TOKEN_MS = 10.0
EACH_TOKEN_MS = 5.0
TOKENS = 150


@dataclass(frozen=True)
class Reading:
    """One streamed answer, in milliseconds.

    Attributes:
        first: from sending the request to the first token's arrival.
        lags: from each token's leaving the model to its arrival.
    """

    first: float
    lags: list[float]


def measure(bed: Bed) -> list[Figure]:
    """Read the same stream both ways, in turn.

    Returns:
        First-token and per-token latency.
    """
    stack, server, rounds = bed.stack, bed.server, bed.options.rounds
    arn = bed.harness()
    through(stack, server, arn, new_session())
    session = new_session()
    through(stack, server, arn, session)
    ours: list[Reading] = []
    floor: list[Reading] = []
    for _ in range(rounds):
        floor.append(direct(server, bed.model_url))
        ours.append(through(stack, server, arn, session))
    new = [through(stack, server, arn, new_session()) for _ in range(rounds)]

    first = statistics.median(reading.first for reading in floor)
    lag = statistics.median(lag for reading in floor for lag in reading.lags)
    return [
        Figure(
            "request to first token, open session",
            "ms",
            statistics.median(reading.first for reading in ours),
            first,
            first + FIRST_TOKEN_MS,
        ),
        Figure(
            "request to first token, new session",
            "ms",
            statistics.median(reading.first for reading in new),
            first,
        ),
        Figure(
            "first token, from the model's lips to the reader",
            "ms",
            statistics.median(reading.lags[0] for reading in ours),
            statistics.median(reading.lags[0] for reading in floor),
            FIRST_TOKEN_MS,
        ),
        Figure(
            "each token, from the model's lips to the reader",
            "ms",
            statistics.median(lag for reading in ours for lag in reading.lags),
            lag,
            lag + EACH_TOKEN_MS,
        ),
    ]


def direct(server: ModelServer, url: str) -> Reading:
    """Call the model with nothing between."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    body = {"messages": [{"role": "user", "content": f"count {TOKENS}"}], "stream": True}
    start = time.monotonic()
    connection.request("POST", "/chat/completions", json.dumps(body))
    lines = connection.getresponse()
    arrived = [time.monotonic() for line in lines if b'"content"' in line]
    connection.close()
    return _reading(server, start, arrived)


def through(stack: Stack, server: ModelServer, arn: str, session: str) -> Reading:
    """Call it as an agent's model."""
    client = stack.data
    start = time.monotonic()
    response = client.invoke_harness(
        harnessArn=arn, runtimeSessionId=session, messages=say(f"count {TOKENS}")
    )
    arrived: list[float] = []
    for frame in response["stream"]:
        text = frame.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        arrived += [time.monotonic()] * text.count(" ")
    return _reading(server, start, arrived)


def _reading(server: ModelServer, start: float, arrived: list[float]) -> Reading:
    if len(arrived) != TOKENS or len(server.sent) != TOKENS:
        raise RuntimeError(f"{len(arrived)} of {TOKENS} tokens arrived")
    lags = [(came - left) * 1000 for came, left in zip(arrived, server.sent, strict=True)]
    return Reading((arrived[0] - start) * 1000, lags)
