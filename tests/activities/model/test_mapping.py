"""Every union of `HarnessModelConfiguration`, and what LiteLLM is asked for it."""

from dataclasses import replace
from typing import Any

import pytest

from activities.model.keys import NO_KEY, Access
from activities.model.mapping import Thoughts, origin_of, target_of
from contracts.errors import ModelFailed, ModelFault, ServiceError
from contracts.harness import ModelConfig
from contracts.messages import Origin
from contracts.model_params import RESERVED
from contracts.settings import Settings

ARN = "arn:aws:bedrock-agentcore:us-east-1:000000000000:token-vault/default/x/k"
KEYS = {"OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
AWS = {"AWS_REGION": "eu-west-1"}


def bedrock(**members: Any) -> ModelConfig:
    return ModelConfig.model_validate({"bedrockModelConfig": {"modelId": "m.x-1", **members}})


def openai(**members: Any) -> ModelConfig:
    own = {"modelId": "gpt-5", "apiKeyArn": ARN, **members}
    return ModelConfig.model_validate({"openAiModelConfig": own})


def gemini(**members: Any) -> ModelConfig:
    own = {"modelId": "gemini-2.5-flash", "apiKeyArn": ARN, **members}
    return ModelConfig.model_validate({"geminiModelConfig": own})


def litellm(model_id: str, **members: Any) -> ModelConfig:
    return ModelConfig.model_validate({"liteLlmModelConfig": {"modelId": model_id, **members}})


@pytest.mark.wire("model.bedrock", "model.openai", "model.gemini", "model.litellm")
@pytest.mark.parametrize(
    ("config", "model"),
    [
        (bedrock(), "bedrock/converse/m.x-1"),
        (bedrock(apiFormat="converse_stream"), "bedrock/converse/m.x-1"),
        (bedrock(apiFormat="chat_completions"), "bedrock_mantle/m.x-1"),
        (bedrock(apiFormat="responses"), "bedrock_mantle/responses/m.x-1"),
        (openai(), "openai/responses/gpt-5"),
        (openai(apiFormat="responses"), "openai/responses/gpt-5"),
        (openai(apiFormat="chat_completions"), "openai/gpt-5"),
        (gemini(), "gemini/gemini-2.5-flash"),
        (litellm("anthropic/claude-sonnet-4-5"), "anthropic/claude-sonnet-4-5"),
        (litellm("groq/llama"), "groq/llama"),
    ],
)
def test_each_union_names_its_model(config: ModelConfig, model: str, settings: Settings) -> None:
    assert target_of(config, settings, Access({**KEYS, **AWS})).model == model


@pytest.mark.wire("model.sampling")
def test_sampling_is_passed_and_what_is_not_set_is_left_out(settings: Settings) -> None:
    config = gemini(maxTokens=9, temperature=0.0, topP=0.5, topK=40, additionalParams={"seed": 1})
    assert target_of(config, settings, Access(KEYS)).parameters == {
        "max_tokens": 9,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 40,
        "seed": 1,
    }
    assert target_of(gemini(), settings, Access(KEYS)).parameters == {}


@pytest.mark.wire("model.reserved-params")
@pytest.mark.parametrize(
    "name", [*sorted(RESERVED), "aws_secret_access_key", "mock_response", "_x"]
)
def test_additional_params_must_not_take_over_the_call(name: str, settings: Settings) -> None:
    for params in ({name: "x"}, {"extra_body": {name: "x"}}):
        with pytest.raises(ServiceError, match=name):
            target_of(gemini(additionalParams=params), settings, Access(KEYS))


def test_the_region_is_ours_only_when_the_environment_names_none(settings: Settings) -> None:
    own = replace(settings, region="eu-central-1")
    assert target_of(bedrock(), own, Access({})).parameters == {"aws_region_name": "eu-central-1"}
    assert target_of(bedrock(), own, Access(AWS)).parameters == {}


def test_a_chosen_api_format_is_kept_against_the_price_list(settings: Settings) -> None:
    for config in (bedrock(apiFormat="chat_completions"), openai(apiFormat="chat_completions")):
        parameters = target_of(config, settings, Access({**KEYS, **AWS})).parameters
        assert parameters == {"_skip_responses_api_bridge": True}


def test_responses_keep_nothing_at_the_provider(settings: Settings) -> None:
    parameters = target_of(openai(), settings, Access(KEYS)).parameters
    assert parameters == {"store": False, "include": ["reasoning.encrypted_content"]}
    plain = target_of(openai(modelId="gpt-4.1"), settings, Access(KEYS)).parameters
    assert plain == {"store": False}


def test_a_server_of_ones_own_needs_no_key(settings: Settings) -> None:
    config = openai(apiFormat="chat_completions", apiBase="http://localhost:1/v1")
    assert target_of(config, settings, Access({})).parameters == {
        "api_base": "http://localhost:1/v1",
        "api_key": NO_KEY,
        "_skip_responses_api_bridge": True,
    }
    assert target_of(config, settings, Access(KEYS)).parameters["api_key"] == NO_KEY
    other = litellm("hosted_vllm/q", apiBase="http://localhost:1/v1")
    assert target_of(other, settings, Access({})).parameters["api_key"] == NO_KEY


@pytest.mark.parametrize(
    ("config", "variable"),
    [
        (openai(), "OPENAI_API_KEY"),
        (gemini(), "GEMINI_API_KEY"),
        (litellm("anthropic/claude-sonnet-4-5"), "ANTHROPIC_API_KEY"),
    ],
)
def test_a_missing_key_is_named(config: ModelConfig, variable: str, settings: Settings) -> None:
    with pytest.raises(ModelFailed, match=variable) as raised:
        target_of(config, settings, Access({}))
    assert raised.value.fault is ModelFault.NOT_CONFIGURED


def test_the_demo_model_is_where_the_settings_say(settings: Settings) -> None:
    own = replace(settings, demo_model_url="http://127.0.0.1:5/v1")
    target = target_of(litellm("demo/scripted"), own, Access(KEYS))
    assert target.model == "openai/scripted"
    assert target.parameters == {"api_base": "http://127.0.0.1:5/v1", "api_key": NO_KEY}


def test_a_demo_model_that_does_not_run_is_a_clear_error(settings: Settings) -> None:
    with pytest.raises(ModelFailed, match="EVERLOOP_DEMO_MODEL_URL") as raised:
        target_of(litellm("demo/scripted"), settings, Access({}))
    assert not raised.value.fault.passes


@pytest.mark.parametrize(
    ("model_id", "origin"),
    [
        ("global.anthropic.claude-sonnet-4-6", Origin.CLAUDE),
        ("anthropic/claude-x", Origin.CLAUDE),
        ("vertex_ai/gemini-3-pro", Origin.GEMINI),
        ("gpt-5", Origin.OPENAI),
        ("openai.gpt-oss-120b", Origin.OPENAI),
        ("azure/o3-mini", Origin.OPENAI),
        ("amazon.nova-pro-v1:0", Origin.OTHER),
        ("mistral/mistral-large", Origin.OTHER),
        ("demo/scripted", Origin.OTHER),
    ],
)
def test_families(model_id: str, origin: Origin) -> None:
    assert origin_of(model_id) is origin


def test_thoughts_go_back_the_way_the_family_reads_them(settings: Settings) -> None:
    env = {**KEYS, **AWS}
    claude = bedrock(modelId="global.anthropic.claude-sonnet-4-6")
    assert target_of(claude, settings, Access(env)).thoughts is Thoughts.BLOCKS
    assert target_of(gemini(), settings, Access(env)).thoughts is Thoughts.SIGNATURES
    assert target_of(openai(), settings, Access(env)).thoughts is Thoughts.ITEMS
    assert target_of(bedrock(), settings, Access(env)).thoughts is Thoughts.NONE


def test_a_target_never_shows_its_key(settings: Settings) -> None:
    config = openai(apiBase="http://localhost:1/v1", additionalParams={"user": "hidden-value"})
    assert "hidden-value" not in repr(target_of(config, settings, Access({})))
