"""Whose key a model call is made with, and where it may go: real vault, real servers, LiteLLM."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from temporalio.exceptions import ApplicationError

from activities.model.keys import KEY_ALONE, access_for
from contracts.errors import ErrorType, ModelFailed, ModelFault
from contracts.harness import ModelConfig
from contracts.settings import Settings
from contracts.vault import ApiKeyProviderArn
from store import RingSource, Store, ring_of
from store.vault_keyring import KeyRing
from store.vault_tables import api_key_provider
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import Replay, chat, error, replaying
from tests.activities.model.session import Session, run_config
from tests.store.test_vault import execute

pytestmark = [pytest.mark.usefixtures("litellm_clients"), *LITELLM_WARNS]

ARN = ApiKeyProviderArn("us-east-1", "0" * 12, "mine")
KMS_KEY = f"arn:aws:kms:eu-west-1:111122223333:key/{'0' * 36}"
KEY = "vault-key-0123456789"
PLANTED = "planted-in-the-worker"
HELLO = chat({"content": "Hello"})


@pytest.fixture
def session(store: Store, settings: Settings) -> Session:
    return Session(store, settings)


@pytest.fixture
def worker_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with a key for everything: LiteLLM reads the real environment."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    for provider in KEY_ALONE:
        monkeypatch.setenv(f"{provider.upper()}_API_KEY", PLANTED)
    for name in ("ANTHROPIC_AUTH_TOKEN", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.setenv(name, PLANTED)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, PLANTED)


def litellm(url: str | None, model_id: str = "openai/m", **members: Any) -> dict[str, Any]:
    base = {} if url is None else {"apiBase": url}
    return {"liteLlmModelConfig": {"modelId": model_id, **base, **members}}


def open_ai(url: str, arn: object = ARN) -> dict[str, Any]:
    own = {"modelId": "m", "apiBase": url, "apiKeyArn": str(arn), "apiFormat": "chat_completions"}
    return {"openAiModelConfig": own}


def keys_sent(provider: Replay) -> list[str]:
    return [request.headers.get("authorization", "") for request in provider.requests]


async def failure(session: Session, model: dict[str, Any]) -> str:
    """The final error of a call, as the user reads it."""
    await session.open(run_config(model), "hi")
    with pytest.raises(ApplicationError) as caught:
        await session.call()
    assert caught.value.type == ErrorType.MODEL_REFUSED
    assert caught.value.non_retryable
    assert caught.value.details == (ModelFault.NOT_CONFIGURED.value,)
    return await session.note() or ""


@pytest.mark.wire("model.key", "model.api-base")
@pytest.mark.parametrize("union", ["liteLlm", "openAi"])
async def test_the_named_key_is_sent_where_the_caller_says(session: Session, union: str) -> None:
    await session.store.api_keys.create(ARN, KEY)
    async with replaying(HELLO) as provider:
        own = litellm(provider.url, apiKeyArn=str(ARN))
        await session.open(run_config(own if union == "liteLlm" else open_ai(provider.url)), "hi")
        await session.call()
    assert keys_sent(provider) == [f"Bearer {KEY}"]


@pytest.mark.wire("credential.update")
async def test_a_replaced_key_is_used_by_the_next_call(session: Session) -> None:
    await session.store.api_keys.create(ARN, "first-key-0123")
    async with replaying(HELLO) as provider:
        await session.open(run_config(litellm(provider.url, apiKeyArn=str(ARN))), "hi")
        reply = await session.call()
        await session.store.api_keys.update(ARN, KEY)
        await session.answer(reply)
        await session.call(step=1)
    assert keys_sent(provider) == ["Bearer first-key-0123", f"Bearer {KEY}"]


@pytest.mark.wire("model.key-missing")
async def test_an_arn_without_a_provider_is_a_final_error_that_names_it(session: Session) -> None:
    await session.store.api_keys.create(ARN, KEY)
    await session.store.api_keys.delete(ARN)
    async with replaying(HELLO) as provider:
        told = await failure(session, litellm(provider.url, apiKeyArn=str(ARN)))
        assert provider.requests == []
    assert str(ARN) in told and "no credential provider" in told


@pytest.mark.usefixtures("worker_keys")
async def test_without_leave_an_unknown_arn_does_not_fall_back(session: Session) -> None:
    async with replaying(HELLO) as provider:
        told = await failure(session, open_ai(provider.url))
        assert provider.requests == []
    assert str(ARN) in told


async def test_another_accounts_arn_is_refused_though_its_key_is_there(session: Session) -> None:
    theirs = replace(ARN, account="111122223333")
    await session.store.api_keys.create(theirs, KEY)
    async with replaying(HELLO) as provider:
        told = await failure(session, open_ai(provider.url, theirs))
        assert provider.requests == []
    assert str(theirs) in told and "belongs to account 111122223333" in told


@pytest.mark.parametrize(
    ("ring", "why"),
    [
        (RingSource(Path("/none"), given=KeyRing.new().text()), "update the provider"),
        (None, "no usable key ring"),
    ],
)
async def test_a_key_that_cannot_be_read_names_the_arn(
    session: Session,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    ring: RingSource | None,
    why: str,
) -> None:
    await session.store.api_keys.create(ARN, KEY)
    store = await Store.open(f"sqlite:///{settings.data_dir / 'everloop.db'}", ring)
    told = await failure(Session(store, settings), litellm(None, apiKeyArn=str(ARN)))
    await store.close()
    assert str(ARN) in told and why in told
    assert KEY not in caplog.text
    assert "key" in caplog.text


async def test_a_model_call_is_tried_again_while_kms_is_away(
    session: Session, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    await session.store.api_keys.create(ARN, KEY)
    url = f"sqlite:///{settings.data_dir / 'everloop.db'}"
    await execute(url, sa.update(api_key_provider).values(key_id=KMS_KEY))
    store = await Store.open(url, ring_of(replace(settings, keyring=f"kms:{KMS_KEY}")))
    with pytest.raises(ModelFailed, match="cannot be reached now") as caught:
        model = ModelConfig.model_validate(litellm(None, apiKeyArn=str(ARN)))
        await access_for(model, store, settings, {})
    await store.close()
    assert caught.value.fault.passes


@pytest.mark.usefixtures("worker_keys")
async def test_an_operator_may_let_the_environment_stand_in(
    session: Session, settings: Settings
) -> None:
    async with replaying(HELLO) as provider:
        session.settings = replace(
            settings, keys_from_env=True, keyed_api_bases=(f"{provider.url}/",)
        )
        await session.open(run_config(open_ai(provider.url)), "hi")
        await session.call()
    assert keys_sent(provider) == [f"Bearer {PLANTED}"]


@pytest.mark.wire("model.api-base")
@pytest.mark.usefixtures("worker_keys")
@pytest.mark.parametrize("model_id", [*sorted(f"{name}/m" for name in KEY_ALONE)])
async def test_a_server_that_a_caller_names_gets_nothing_of_the_workers(
    session: Session, model_id: str
) -> None:
    async with replaying(error(400, "no")) as provider:
        await session.open(run_config(litellm(provider.url, model_id)), "hi")
        with pytest.raises(ApplicationError):
            await session.call()
        assert provider.requests, "the test must see what is sent"
        for request in provider.requests:
            assert PLANTED not in f"{request.path} {request.headers} {request.body}"


@pytest.mark.usefixtures("worker_keys")
async def test_the_responses_protocol_keeps_the_workers_key_too(
    session: Session, settings: Settings
) -> None:
    session.settings = replace(settings, keys_from_env=True)
    model = open_ai("")
    async with replaying(error(400, "no")) as provider:
        model["openAiModelConfig"] |= {"apiBase": provider.url, "apiFormat": "responses"}
        await session.open(run_config(model), "hi")
        with pytest.raises(ApplicationError):
            await session.call()
        assert PLANTED not in str(provider.requests)
        assert len(provider.requests) == 1


@pytest.mark.usefixtures("worker_keys")
@pytest.mark.parametrize("model_id", ["bedrock/converse/m", "vertex_ai/gemini-x", "azure/m", "m"])
async def test_a_provider_that_signs_by_the_workers_credentials_is_refused(
    session: Session, model_id: str
) -> None:
    async with replaying(HELLO) as provider:
        told = await failure(session, litellm(provider.url, model_id))
        assert provider.requests == []
    assert "EVERLOOP_KEYED_API_BASES" in told


async def test_a_provider_that_repeats_the_key_does_not_show_it(session: Session) -> None:
    await session.store.api_keys.create(ARN, KEY)
    async with replaying(error(401, f"Incorrect API key provided: {KEY}.")) as provider:
        await session.open(run_config(litellm(provider.url, apiKeyArn=str(ARN))), "hi")
        with pytest.raises(ApplicationError) as caught:
            await session.call()
    told = await session.note() or ""
    assert "Incorrect API key provided" in told
    assert KEY not in f"{told}{caught.value}{caught.value.details}"
