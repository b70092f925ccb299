"""What a provider's failure means, and what the user may read of it.

LiteLLM maps every provider's errors to OpenAI's classes. They are judged here by HTTP status and by
class name, so that nothing but `gateway` needs LiteLLM. Source of the context-window phrases: the
providers' documented messages, Bedrock's as the ConverseStream clients match them.
"""

import email.utils
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from contracts.errors import ModelFailed, ModelFault, ServiceError

#: The user sees at most this much of a provider's words; some providers echo the whole request.
MOST_CHARACTERS = 1_000

#: A provider that asks for a longer pause is asked again after this; the turn's own limit decides.
MOST_PATIENCE_S = 300.0

_OVERFLOW = re.compile(
    r"context[ _]length|context window|maximum context|prompt is too long|too many total text bytes"
    r"|input is too long|input length and `max_tokens` exceed|exceeds the maximum number of tokens",
    re.IGNORECASE,
)
_NOT_CONFIGURED = re.compile(
    r"unable to locate credentials|missing credentials|no usable aws credentials|no credentials"
    r"|partial credentials|api_key client option must be set|missing (?:\w+ )?api key"
    r"|config profile .* not be found|no module named",
    re.IGNORECASE,
)
#: How LiteLLM words a time-out that it does not raise as one.
_SILENT = re.compile(r"timeout on reading|timed out", re.IGNORECASE)
_SPENT = re.compile(r"insufficient_quota|credit balance is too low", re.IGNORECASE)
_NOISE = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception)\b:?(?:\s+-)?\s*|\w+Exception - )+")

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_SHAPES = re.compile(
    r"""
      \b[sprx]k-[A-Za-z0-9_*.-]{6,}
    | \bbearer\s+[^\s"',;]+
    | \bAIza[A-Za-z0-9_-]{10,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}
    | \beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_.-]+
    | \b(?:gh[pousr]|xox[abprs]|hf|gsk)[_-][A-Za-z0-9_-]{10,}
    | (?:X-Amz-(?:Signature|Credential|Security-Token)|[?&](?:key|sig|token|api[_-]key))=[^\s&"']+
    | (?:api[_-]?key|authorization|x-api-key|secret|password)["']?\s*[:=]\s*["']?[^\s"',;}]{6,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: A variable as short as this is no secret, and its value would blot out innocent words.
_SHORTEST_SECRET = 6

_BY_STATUS = {
    401: ModelFault.NOT_AUTHORISED,
    403: ModelFault.NOT_AUTHORISED,
    404: ModelFault.NOT_FOUND,
    408: ModelFault.TIMED_OUT,
    409: ModelFault.UNAVAILABLE,
    425: ModelFault.UNAVAILABLE,
    429: ModelFault.RATE_LIMITED,
    504: ModelFault.TIMED_OUT,
}


def judge(error: Exception, env: Mapping[str, str]) -> ModelFailed:
    """Say what an exception of the gateway means.

    Args:
        error: what it raised.
        env: the worker's environment, whose secrets must not be shown.

    Returns:
        The failure, with words for the user.
    """
    if isinstance(error, ModelFailed):
        return error
    if isinstance(error, ServiceError):
        return ModelFailed(str(error), fault=ModelFault.REFUSED)
    cause = _innermost(error)
    words = str(getattr(cause, "message", None) or cause)
    fault = _fault(cause, words)
    pause = _pause(cause) if fault.passes else None
    return ModelFailed(for_user(words, fault, env), fault=fault, retry_after_s=pause)


def for_user(words: str, fault: ModelFault, env: Mapping[str, str]) -> str:
    """A provider's words, without secrets and bounded, after a few of our own."""
    told = without_secrets(_message(_NOISE.sub("", words).strip()), env)
    if len(told) > MOST_CHARACTERS:
        told = f"{told[:MOST_CHARACTERS]}... (shortened)"
    return f"{_OURS[fault]} {told}".strip()


_OURS = {
    ModelFault.NOT_CONFIGURED: "The worker is not set up for this model:",
    ModelFault.NOT_AUTHORISED: "The model provider did not accept the worker's credentials:",
    ModelFault.NOT_FOUND: "The model provider does not know what was asked for:",
    ModelFault.REFUSED: "The model provider refused the request:",
    ModelFault.CONTEXT_WINDOW: "The conversation is longer than the model can read:",
    ModelFault.RATE_LIMITED: "The model provider limits the rate of requests:",
    ModelFault.UNAVAILABLE: "The model provider is not available:",
    ModelFault.TIMED_OUT: "The model provider did not answer in time:",
    ModelFault.CUT_STREAM: "The model's answer broke off before it was complete:",
}


def _message(words: str) -> str:
    """The message in an error that is JSON, as OpenAI words it; anything else as it is."""
    try:
        message: Any = json.loads(words)["error"]["message"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return words
    return message if isinstance(message, str) else words


def without_secrets(text: str, env: Mapping[str, str]) -> str:
    """The text with everything that looks like a secret, or is one of ours, taken out."""
    values = {
        value
        for name, value in env.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "[removed]")
    return _SECRET_SHAPES.sub("[removed]", text)


def _innermost(error: Exception) -> Exception:
    original: Any = getattr(error, "original_exception", None)
    return _innermost(original) if isinstance(original, Exception) else error


def _fault(error: Exception, words: str) -> ModelFault:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ContextWindowExceededError" in names:
        return ModelFault.CONTEXT_WINDOW
    if "NoCredentialsError" in names or _NOT_CONFIGURED.search(words):
        return ModelFault.NOT_CONFIGURED
    if _SPENT.search(words):
        return ModelFault.REFUSED
    late = names & {"Timeout", "APITimeoutError", "TimeoutException", "TimeoutError"}
    if late or ("APIConnectionError" in names and _SILENT.search(words)):
        return ModelFault.TIMED_OUT
    status = _status(error)
    if status in (400, 413, 422) and _OVERFLOW.search(words):
        return ModelFault.CONTEXT_WINDOW
    if status is None:
        return ModelFault.UNAVAILABLE
    return _BY_STATUS.get(status, ModelFault.REFUSED if status < 500 else ModelFault.UNAVAILABLE)


def _status(error: Exception) -> int | None:
    response: Any = getattr(error, "response", None)
    for status in (getattr(error, "status_code", None), getattr(response, "status_code", None)):
        if isinstance(status, int | str) and str(status).isdecimal():
            return int(status)
    return None


def _pause(error: Exception) -> float | None:
    for headers in _headers(error):
        milliseconds = headers.get("retry-after-ms")
        if milliseconds and milliseconds.replace(".", "", 1).isdecimal():
            return min(float(milliseconds) / 1000, MOST_PATIENCE_S)
        if after := headers.get("retry-after"):
            return _seconds(after)
    return None


def _headers(error: Exception) -> Iterator[dict[str, str]]:
    response: Any = getattr(error, "response", None)
    for found in (
        getattr(error, "litellm_response_headers", None),
        getattr(error, "headers", None),
        getattr(response, "headers", None),
    ):
        if found:
            yield {str(name).lower(): str(value) for name, value in dict(found).items()}


def _seconds(after: str) -> float | None:
    if after.replace(".", "", 1).isdecimal():
        return min(float(after), MOST_PATIENCE_S)
    try:
        when = email.utils.parsedate_to_datetime(after)
    except ValueError:
        return None
    left = (when - datetime.now(UTC)).total_seconds()
    return min(max(left, 0.0), MOST_PATIENCE_S)
