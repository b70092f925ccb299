"""What LiteLLM costs a model call, with nothing of ours around it but the gateway."""

import http.client
import json
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

from activities.model import gateway
from activities.model.mapping import Target
from activities.model.warm import warm
from bench.bed import Bed
from bench.report import Figure
from contracts.messages import Origin

#: Messages of a conversation in the middle of a turn of 50 iterations.
MESSAGES = 50
CALLS = 20

Json = dict[str, Any]


async def measure(bed: Bed) -> list[Figure]:
    """Make the same call through LiteLLM and as a plain request.

    Returns:
        The median call.
    """
    await warm()
    messages = _conversation()
    target = Target(
        model="openai/bench",
        origin=Origin.OTHER,
        parameters={"api_base": bed.model_url, "api_key": "none"},
    )
    ours: list[float] = []
    floor: list[float] = []
    for _ in range(CALLS):
        start = time.perf_counter()
        async for _ in gateway.stream(target, messages, []):
            pass
        ours.append((time.perf_counter() - start) * 1000)
        floor.append(_plain_ms(bed.model_url, messages))
    await gateway.close()
    what = f"model call through LiteLLM alone, {MESSAGES} messages"
    return [Figure(what, "ms", statistics.median(ours), statistics.median(floor))]


def _conversation() -> list[Json]:
    call = {"id": "c", "type": "function", "function": {"name": "shell", "arguments": "{}"}}
    pair: list[Json] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "." * 60},
    ]
    return [{"role": "user", "content": "count 1"}, *pair * (MESSAGES // 2)]


def _plain_ms(url: str, messages: list[Json]) -> float:
    where = urlsplit(url)
    start = time.perf_counter()
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    body = json.dumps({"model": "bench", "messages": messages, "stream": True})
    connection.request("POST", "/chat/completions", body)
    connection.getresponse().read()
    connection.close()
    return (time.perf_counter() - start) * 1000
