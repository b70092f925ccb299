"""The options that every way of running a harness takes, and the workflow input they make."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from everloop.output import OutputType
from everloop.runs import MAX_TEXT_BYTES, HarnessRun

#: A member of InvokeHarness by its name on AWS's wire, for each option that sets one.
_OVERRIDES = {
    "model": "model",
    "system_prompt": "systemPrompt",
    "tools": "tools",
    "allowed_tools": "allowedTools",
    "max_iterations": "maxIterations",
    "max_tokens": "maxTokens",
    "timeout_seconds": "timeoutSeconds",
}


class RunOptions(TypedDict, total=False):
    """What a run may be told, each as a keyword; what is left out is the harness's own.

    Attributes:
        session_id: the session to go on with; `everloop.session_id` makes one of your own keys.
        qualifier: an endpoint of the harness; its newest version when left out.
        timeout: how long the run may take, waiting for people included. Then it is cancelled and
            `HarnessTimedOut` raised.
        actor_id: on whose behalf the agent acts.
        model: `HarnessModelConfiguration`, as `{"bedrockModelConfig": {"modelId": ...}}`.
        system_prompt: replaces the harness's.
        tools: `HarnessTools`; replaces the harness's.
        allowed_tools: patterns; replaces the harness's.
        max_iterations: model calls of the run.
        max_tokens: output tokens of the run.
        timeout_seconds: seconds that the agent may work; waiting for people does not count. The
            run then ends with the stop reason `timeout_exceeded`.
        max_text_bytes: where the result's text is cut.
    """

    session_id: str | None
    qualifier: str | None
    timeout: timedelta | float | None
    actor_id: str | None
    model: Mapping[str, Any] | None
    system_prompt: str | None
    tools: Sequence[Mapping[str, Any]] | None
    allowed_tools: Sequence[str] | None
    max_iterations: int | None
    max_tokens: int | None
    timeout_seconds: int | None
    max_text_bytes: int


def input_of(
    harness: str,
    prompt: str,
    wanted: OutputType[Any] | None,
    *,
    key: str | None = None,
    **options: Unpack[RunOptions],
) -> HarnessRun:
    """The input of `RunHarness`.

    Args:
        harness: see `HarnessRun`.
        prompt: what the user says.
        wanted: the structured result to ask for.
        key: see `HarnessRun`.
        **options: see `RunOptions`.
    """
    given: dict[str, Any] = {
        wire: options[name] for name, wire in _OVERRIDES.items() if options.get(name) is not None
    }
    if "systemPrompt" in given:
        given["systemPrompt"] = [{"text": given["systemPrompt"]}]
    timeout = options.get("timeout")
    return HarnessRun(
        harness=harness,
        prompt=prompt,
        qualifier=options.get("qualifier"),
        session_id=options.get("session_id"),
        actor_id=options.get("actor_id"),
        overrides=given or None,
        output_schema=wanted.schema if wanted else None,
        timeout_s=timeout.total_seconds() if isinstance(timeout, timedelta) else timeout,
        max_text_bytes=options.get("max_text_bytes", MAX_TEXT_BYTES),
        key=key,
    )
