"""Usage over HTTP and from the command line, of turns in a real store."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.eventstream import EventStreamBuffer

from contracts.errors import AwsError, ErrorDetail
from contracts.messages import Message, StopReason, TextBlock, TokenUsage
from store import migrate
from tests.api.live import Live, Turn, live_server, with_header
from tests.api.raw import RawAnswer, call
from tests.everloop_command import run_everloop

SESSION = "s" * 33


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        yield server


async def answer(turn: Turn) -> None:
    """Two models have a part in it; nobody knows what the second one costs."""
    await turn.open()
    for step, model_id, cost in ((0, "openai/gpt-4.1", 1_500_000_000), (1, "demo/scripted", None)):
        await turn.begin(step)
        blocks = (TextBlock(text="Hi"),)
        await turn.store.turns.commit_step(
            turn.session,
            turn.invocation_id,
            step,
            turn.attempts[step],
            message=Message(role="assistant", blocks=blocks, stop_reason=StopReason.END_TURN),
            calls=(),
            usage=TokenUsage(input_tokens=10, output_tokens=2, cache_read_input_tokens=5),
            latency_ms=7,
            model_id=model_id,
            cost_pico_usd=cost,
        )
    await turn.close()


def used(calls: int, cost: float | None, unpriced: int) -> dict[str, Any]:
    return {
        "modelCalls": calls,
        "inputTokens": 10 * calls,
        "outputTokens": 2 * calls,
        "totalTokens": 12 * calls,
        "cacheReadInputTokens": 5 * calls,
        "cacheWriteInputTokens": 0,
        "costUsd": cost,
        "unpricedModelCalls": unpriced,
    }


async def harness_with_two_turns(live: Live) -> str:
    live.sessions.play = answer
    arn = await live.harness()
    await live.say(arn)
    await live.say(arn)
    return arn.rpartition("/")[2]


async def get(live: Live, path: str) -> RawAnswer:
    return await asyncio.to_thread(call, live.port, "GET", f"/everloop/v1/{path}")


async def test_usage_of_a_session_by_model_and_invocation(live: Live):
    harness_id = await harness_with_two_turns(live)
    answer = await get(live, f"harnesses/{harness_id}/sessions/{SESSION}/usage")
    assert answer.status == 200
    assert answer.headers["x-amzn-requestid"]
    told = answer.json
    assert told["usage"] == used(4, 0.003, 2)
    assert told["models"] == [
        {"modelId": "demo/scripted", "usage": used(2, None, 2)},
        {"modelId": "openai/gpt-4.1", "usage": used(2, 0.003, 0)},
    ]
    assert [each["usage"] for each in told["invocations"]] == [used(2, 0.0015, 1)] * 2
    assert {each["stopReason"] for each in told["invocations"]} == {"end_turn"}
    assert "nextToken" not in told
    path = f"harnesses/{harness_id}/sessions/{SESSION}/usage?maxResults=1"
    first = (await get(live, path)).json
    second = (await get(live, f"{path}&nextToken={quote(first['nextToken'])}")).json
    assert first["usage"] == second["usage"] == told["usage"]
    assert first["invocations"] + second["invocations"] == told["invocations"]
    assert "nextToken" not in second


async def test_usage_of_an_invocation_call_by_call(live: Live):
    harness_id = await harness_with_two_turns(live)
    path = f"harnesses/{harness_id}/sessions/{SESSION}"
    session = (await get(live, f"{path}/usage")).json
    invocation_id = session["invocations"][0]["invocationId"]
    told = (await get(live, f"{path}/invocations/{invocation_id}/usage")).json
    assert told["usage"] == used(2, 0.0015, 1)
    first, second = told["modelCalls"]
    assert (first["step"], first["modelId"], first["latencyMs"]) == (0, "openai/gpt-4.1", 7)
    assert first["usage"] == used(1, 0.0015, 0)
    assert second["usage"] == used(1, None, 1)


async def test_usage_of_a_harness_outlives_it(live: Live):
    harness_id = await harness_with_two_turns(live)
    before = (await get(live, f"harnesses/{harness_id}/usage")).json
    assert before["usage"] == used(4, 0.003, 2)
    assert [each["runtimeSessionId"] for each in before["sessions"]] == [SESSION]
    await asyncio.to_thread(live.control.delete_harness, harnessId=harness_id)
    assert (await get(live, f"harnesses/{harness_id}/usage")).json == before


async def test_a_harness_that_was_never_used_has_an_empty_sum(live: Live):
    arn = await live.harness("idle")
    told = (await get(live, f"harnesses/{arn.rpartition('/')[2]}/usage")).json
    assert told["usage"] == used(0, None, 0)
    assert told["sessions"] == told["models"] == []


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("harnesses/none-abcdefghij/usage", 404, "ResourceNotFoundException"),
        ("harnesses/none-abcdefghij/sessions/x/usage", 404, "ResourceNotFoundException"),
        ("harnesses/{id}/sessions/{s}/invocations/x/usage", 404, "ResourceNotFoundException"),
        ("harnesses/{id}/usage?maxResults=0", 400, "ValidationException"),
        ("harnesses/{id}/usage?maxResults=1001", 400, "ValidationException"),
        ("harnesses/{id}/sessions/{s}/usage?maxResults=x", 400, "ValidationException"),
        ("harnesses/{id}/usage?nextToken=x", 400, "ValidationException"),
        ("harnesses/{id}/sessions/{s}/usage?nextToken=x", 400, "ValidationException"),
        ("nothing", 404, "UnknownOperationException"),
    ],
)
async def test_errors_look_as_awss_do(live: Live, path: str, status: int, error: str):
    harness_id = await harness_with_two_turns(live)
    answer = await get(live, path.format(id=harness_id, s=SESSION))
    assert (answer.status, answer.error) == (status, error)
    assert answer.json["message"]
    if status == 400:
        assert answer.fields == [re.findall(r"\?(\w+)=", path)[0]]


async def test_only_get_is_answered(live: Live):
    path = "/everloop/v1/harnesses/none-abcdefghij/usage"
    answer = await asyncio.to_thread(call, live.port, "POST", path, {})
    assert (answer.status, answer.error) == (404, "UnknownOperationException")


async def everloop(live: Live, *words: str) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{live.port}"
    return await asyncio.to_thread(
        run_everloop,
        *words,
        "--endpoint-url",
        url,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
    )


async def test_the_command_shows_money_and_what_is_not_known(live: Live):
    await harness_with_two_turns(live)
    done = await everloop(live, "usage", "agent")
    assert done.returncode == 0, done.stderr
    heading, session, total = (line.split() for line in done.stdout.splitlines())
    assert heading[:4] == ["session", "calls", "in", "out"]
    assert session == [SESSION, "4", "40", "8", "20", "0", "$0.003000", "+", "?"]
    assert total == ["total", *session[1:]]

    done = await everloop(live, "usage", "agent", "--session-id", SESSION, "--json")
    told = json.loads(done.stdout)
    assert told["usage"] == used(4, 0.003, 2)

    invocation_id = told["invocations"][0]["invocationId"]
    where = ("--session-id", SESSION, "--invocation-id", invocation_id)
    done = await everloop(live, "usage", "agent", *where)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1][:2] == ["0", "openai/gpt-4.1"] and lines[1][-1] == "$0.001500"
    assert lines[2][:2] == ["1", "demo/scripted"] and lines[2][-1] == "?"


async def test_the_command_goes_page_by_page(live: Live):
    await harness_with_two_turns(live)
    words = ("usage", "agent", "--session-id", SESSION, "--max-results", "1")
    first = await everloop(live, *words)
    hint, token = re.findall(r"more with: (--next-token) (\S+)", first.stderr)[0]
    second = await everloop(live, *words, hint, token)
    assert (second.returncode, second.stderr) == (0, "")
    rows = [done.stdout.splitlines()[1].split()[0] for done in (first, second)]
    whole = json.loads((await everloop(live, *words[:4], "--json")).stdout)
    assert rows == [each["invocationId"] for each in whole["invocations"]]


async def stream(live: Live, arn: str, **headers: str) -> tuple[int, list[tuple[str, Any]]]:
    """Every event of an invocation, those too that AWS's SDKs do not know."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    session = {"x-amzn-bedrock-agentcore-runtime-session-id": SESSION}
    body = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    path = f"/harnesses/invoke?harnessArn={quote(arn, safe='')}"
    told = await asyncio.to_thread(call, live.port, "POST", path, body, {**session, **named})
    if told.status != 200:
        return told.status, [(told.error, told.fields)]
    buffer: Any = EventStreamBuffer()
    buffer.add_data(told.body)
    return told.status, [
        (
            frame.headers.get(":event-type") or frame.headers[":exception-type"],
            json.loads(frame.payload),
        )
        for frame in buffer
    ]


async def test_a_stream_tells_money_when_asked(live: Live):
    live.sessions.play = answer
    arn = await live.harness()
    await live.say(arn)
    _, events = await stream(live, arn, x_everloop_usage="include", x_everloop_invocation_id="i2")
    names = [name for name, _ in events]
    assert names.count("everloopUsage") == 4
    at = [place for place, name in enumerate(names) if name == "metadata"]
    assert [names[place + 1] for place in at] == ["everloopUsage"] * 2
    usages = [payload for name, payload in events if name == "everloopUsage"]
    first, second, invocation, session = usages
    assert (first["scope"], first["step"], first["modelId"]) == ("modelCall", 0, "openai/gpt-4.1")
    assert (first["usage"], second["usage"]) == (used(1, 0.0015, 0), used(1, None, 1))
    assert invocation == {"scope": "invocation", "usage": used(2, 0.0015, 1)}
    assert session == {"scope": "session", "usage": used(4, 0.003, 2)}
    # Attaching again tells the same; without the header there is nothing of ours.
    again = await stream(live, arn, x_everloop_usage="include", x_everloop_invocation_id="i2")
    assert again[1] == events
    _, plain = await stream(live, arn, x_everloop_invocation_id="i2")
    assert plain == [each for each in events if each[0] != "everloopUsage"]


async def test_boto3_drops_what_it_does_not_know(live: Live):
    live.sessions.play = answer
    arn = await live.harness()
    with_header(live.data, "x-everloop-usage", "include")
    assert {name for event in await live.say(arn) for name in event} <= {
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }


async def fail(turn: Turn) -> None:
    await turn.open()
    await turn.begin()
    await turn.close(None, ErrorDetail(AwsError.RUNTIME_CLIENT, "No such model."))


async def test_an_invocation_that_fails_tells_what_it_used_before_its_error(live: Live):
    live.sessions.play = fail
    _, events = await stream(live, await live.harness(), x_everloop_usage="include")
    names = [name for name, _ in events]
    assert names[-3:] == ["everloopUsage", "everloopUsage", "runtimeClientError"]
    assert events[-3][1]["usage"] == used(0, None, 0)


async def test_another_choice_is_refused_before_anything_is_done(live: Live):
    told = await stream(live, await live.harness(), x_everloop_usage="yes")
    assert told == (400, [("ValidationException", ["x-everloop-usage"])])
    assert live.sessions.brought == []


async def test_the_command_says_what_is_wrong(live: Live):
    await live.harness()
    done = await everloop(live, "usage", "agent", "--session-id", "never-used")
    assert done.returncode == 1 and "ResourceNotFoundException" in done.stderr
    done = await everloop(live, "usage", "agent", "--invocation-id", "x")
    assert done.returncode == 2 and "--session-id" in done.stderr
