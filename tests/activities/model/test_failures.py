"""What providers' failures mean, and what the user reads of them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from activities.model import gateway
from activities.model.failures import MOST_CHARACTERS, MOST_PATIENCE_S, judge, without_secrets
from activities.model.mapping import Target
from contracts.errors import ModelFailed, ModelFault
from contracts.messages import Origin
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import Reply, chat_chunk, error, replaying, sse

pytestmark = LITELLM_WARNS

KEY = "planted-key-0123456789"
ENV = {"OPENAI_API_KEY": KEY, "HOME": "/home/someone"}


async def failure(reply: Reply, model: str = "openai/m") -> ModelFailed:
    async with replaying(reply) as provider:
        target = Target(model, Origin.OTHER, parameters={"api_base": provider.url, "api_key": KEY})
        with pytest.raises(Exception) as raised:
            async for _ in gateway.stream(target, [{"role": "user", "content": "hi"}], ()):
                pass
    assert len(provider.requests) == 1, "LiteLLM retried by itself"
    assert isinstance(raised.value, Exception)
    return judge(raised.value, ENV)


@pytest.mark.usefixtures("litellm_clients")
@pytest.mark.parametrize(
    ("reply", "fault", "passes"),
    [
        (error(429, "slow down"), ModelFault.RATE_LIMITED, True),
        (error(500, "boom"), ModelFault.UNAVAILABLE, True),
        (error(503, "overloaded"), ModelFault.UNAVAILABLE, True),
        (error(529, "overloaded"), ModelFault.UNAVAILABLE, True),
        (error(408, "late"), ModelFault.TIMED_OUT, True),
        (Reply(sse(chat_chunk({"content": "a"})), cut=True), ModelFault.UNAVAILABLE, True),
        (error(400, "bad"), ModelFault.REFUSED, False),
        (error(401, "who"), ModelFault.NOT_AUTHORISED, False),
        (error(403, "no"), ModelFault.NOT_AUTHORISED, False),
        (error(404, "no such model"), ModelFault.NOT_FOUND, False),
        (error(422, "bad"), ModelFault.REFUSED, False),
        (error(429, "insufficient_quota: pay"), ModelFault.REFUSED, False),
        (error(400, "maximum context length is 9 tokens"), ModelFault.CONTEXT_WINDOW, False),
    ],
    ids=lambda value: value.value if isinstance(value, ModelFault) else None,
)
async def test_statuses(reply: Reply, fault: ModelFault, passes: bool) -> None:
    failed = await failure(reply)
    assert (failed.fault, failed.fault.passes) == (fault, passes)


@pytest.mark.usefixtures("litellm_clients")
async def test_a_context_window_error_of_anthropic() -> None:
    body = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"},
    }
    reply = Reply((json.dumps(body).encode(),), status=400, content_type="application/json")
    assert (await failure(reply, "anthropic/claude-x")).fault is ModelFault.CONTEXT_WINDOW


@pytest.mark.usefixtures("litellm_clients")
async def test_an_unreachable_server_may_pass() -> None:
    target = Target(
        "openai/m", Origin.OTHER, parameters={"api_base": "http://127.0.0.1:9", "api_key": "k"}
    )
    with pytest.raises(Exception) as raised:
        await anext(gateway.stream(target, [{"role": "user", "content": "hi"}], ()))
    assert isinstance(raised.value, Exception)
    assert judge(raised.value, ENV).fault is ModelFault.UNAVAILABLE


@pytest.mark.usefixtures("litellm_clients")
async def test_missing_aws_credentials_are_final_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    target = Target(
        "bedrock/converse/m.x", Origin.OTHER, parameters={"aws_region_name": "us-east-1"}
    )
    with pytest.raises(Exception) as raised:
        await anext(gateway.stream(target, [{"role": "user", "content": "hi"}], ()))
    assert isinstance(raised.value, Exception)
    failed = judge(raised.value, {})
    assert failed.fault is ModelFault.NOT_CONFIGURED
    assert "not set up" in str(failed) and "Unable to locate credentials" in str(failed)


@pytest.mark.usefixtures("litellm_clients")
@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "99999"}, MOST_PATIENCE_S),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
async def test_a_rate_limit_says_how_long_to_wait(headers: Any, pause: float | None) -> None:
    assert (await failure(error(429, "slow down", **headers))).retry_after_s == pause


@pytest.mark.usefixtures("litellm_clients")
async def test_the_user_reads_the_provider_without_secrets_and_noise() -> None:
    failed = await failure(error(401, f"Incorrect API key provided: {KEY}. See sk-abcdef123456"))
    assert str(failed) == (
        "The model provider did not accept the worker's credentials: Incorrect API key provided: "
        "[removed]. See [removed]"
    )


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc_DEF-123456",
        "Bearer abc.def.ghi",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdef",
        "https://x/?X-Amz-Signature=0123abcd&b=1",
        "https://x/v1?key=hunter22",
        '"x-api-key": "hunter22"',
        "eyJhbGciOi.eyJzdWIiOi.abc",
        KEY,
    ],
)
def test_shapes_of_secrets_are_removed(secret: str) -> None:
    told = without_secrets(f"before {secret} after", ENV)
    assert "[removed]" in told
    leaked: Sequence[str] = [
        part for part in ("abc", "hunter22", "0123", "1234567890", KEY, "AKIA") if part in told
    ]
    assert not leaked
    assert told.startswith("before ")


def test_innocent_words_stay() -> None:
    text = "Model m does not exist in /home/someone; tokens: 12"
    assert without_secrets(text, ENV) == text


def test_long_texts_are_cut() -> None:
    class ProviderError(Exception):
        status_code = 400

    assert len(str(judge(ProviderError("word " * 5000), {}))) < MOST_CHARACTERS + 100


def test_the_provider_inside_a_wrapper_is_judged() -> None:
    class WrapperError(Exception):
        status_code = 503

        def __init__(self, original: Exception) -> None:
            self.original_exception = original

    class InnerError(Exception):
        status_code = 404

    assert judge(WrapperError(WrapperError(InnerError("x"))), {}).fault is ModelFault.NOT_FOUND
