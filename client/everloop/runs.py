"""What crosses the boundary to a `RunHarness` workflow: its input and its result, as JSON.

Plain values, so that every data converter and every SDK language writes them alike. A field may be
added with a default; renaming or removing one breaks callers.
"""

from dataclasses import dataclass, field
from typing import Any

from everloop.types import StopReason

#: The workflow type that runs a harness to its end.
WORKFLOW = "RunHarness"
#: The task queue that serves it.
TASK_QUEUE = "everloop"
#: The Nexus endpoint that `everloop dev` makes.
DEV_ENDPOINT = "everloop"

#: UTF-8 bytes of a result's text. Temporal refuses payloads of 2 MB and warns at 256 KB; a result
#: is kept in two histories.
MAX_TEXT_BYTES = 256_000
#: JSON bytes of a structured result, which cannot be cut: half of what Temporal refuses.
MAX_OUTPUT_BYTES = 1_000_000


@dataclass(frozen=True)
class HarnessRun:
    """The input of `RunHarness`.

    Attributes:
        harness: the harness's name, id or ARN, or the ARN of one of its endpoints.
        prompt: what the user says.
        qualifier: an endpoint's name; None takes the ARN's, else DEFAULT, the newest version.
        session_id: the session to go on with, `[a-zA-Z0-9][a-zA-Z0-9_-]{32,99}`; None begins one,
            whose id follows from the workflow's.
        actor_id: on whose behalf; None is `default`.
        overrides: members of InvokeHarness that replace the harness's own for this run, by their
            names on AWS's wire: `model`, `systemPrompt`, `tools`, `allowedTools`, `maxIterations`,
            `maxTokens`, `timeoutSeconds`.
        output_schema: JSON schema of an object, which the result must fit; None asks for words.
        timeout_s: seconds that the run may take, waiting for people included; None is no limit.
        max_text_bytes: where the result's text is cut, 1 to `MAX_TEXT_BYTES`.
        key: with the workflow's id it names the invocation, so that a run which is started again
            comes back to it; None takes the workflow's first run id.
        deadline_s: set by the workflow itself when it goes on in a new run.
    """

    harness: str
    prompt: str
    qualifier: str | None = None
    session_id: str | None = None
    actor_id: str | None = None
    overrides: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    timeout_s: float | None = None
    max_text_bytes: int = MAX_TEXT_BYTES
    key: str | None = None
    deadline_s: float | None = None


@dataclass(frozen=True)
class HarnessOutcome:
    """The result of `RunHarness`.

    Attributes:
        session_id: the session, in which more can be asked.
        invocation_id: the invocation that began the run.
        harness_arn: what ran.
        harness_version: in which version.
        stop_reason: why the agent stopped.
        content: the last assistant message's `text` and `toolUse` blocks, as on AWS's wire.
        truncated: whether text was cut; the whole is in the session's transcript.
        output: the structured result; None when none was asked for.
        usage: tokens of all model calls, by the names of `TokenUsage`.
        cost_usd: what the calls with a known price cost; None when no price is known.
    """

    session_id: str
    invocation_id: str
    harness_arn: str
    harness_version: str
    stop_reason: StopReason
    content: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    truncated: bool = False
    output: dict[str, Any] | None = None
    usage: dict[str, int] = field(default_factory=dict[str, int])
    cost_usd: float | None = None
