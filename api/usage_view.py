"""What model calls used, as our JSON has it."""

from typing import Any

from contracts.usage import PICO_USD_PER_USD, CallUsage, Usage


def show_usage(usage: Usage) -> dict[str, Any]:
    """A sum; `costUsd` is null when no call's price is known."""
    tokens = usage.tokens
    cost = usage.cost_pico_usd
    return {
        "modelCalls": usage.model_calls,
        "inputTokens": tokens.input_tokens,
        "outputTokens": tokens.output_tokens,
        "totalTokens": tokens.total_tokens,
        "cacheReadInputTokens": tokens.cache_read_input_tokens,
        "cacheWriteInputTokens": tokens.cache_write_input_tokens,
        "costUsd": None if cost is None else cost / PICO_USD_PER_USD,
        "unpricedModelCalls": usage.unpriced_calls,
    }


def show_call(call: CallUsage) -> dict[str, Any]:
    """One model call."""
    return {
        "step": call.step,
        "modelId": call.model_id,
        "latencyMs": call.latency_ms,
        "endedAt": call.at,
        "usage": show_usage(call.usage),
    }
