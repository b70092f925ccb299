"""Names of things: ARNs, workflow ids, and the grammars they follow.

Grammars are those of botocore's `bedrock-agentcore-control` and `bedrock-agentcore` service models.
"""

import hashlib
import re
from dataclasses import dataclass

HARNESS_ARN = re.compile(
    r"arn:(?P<partition>[^:]+)?:bedrock-agentcore:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12})"
    r":harness/(?P<harness_id>[a-zA-Z][a-zA-Z0-9_]{0,39}-[a-zA-Z0-9]{10})"
)

HARNESS_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,39}")
HARNESS_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,39}-[a-zA-Z0-9]{10}")

HARNESS_ENDPOINT_ARN = re.compile(
    r"(?P<harness>arn:[^/]+/[^/]+)/harness-endpoint/(?P<endpoint>[a-zA-Z][a-zA-Z0-9_]{0,47})"
)

#: The idempotency key of an invocation: what `x-everloop-invocation-id` may hold.
INVOCATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

RUNTIME_SESSION_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{32,99}")

#: A tool-call id that every provider and AWS's `toolUseId` accept.
TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class HarnessArn:
    """An Amazon Resource Name of a harness."""

    region: str
    account: str
    harness_id: str
    partition: str = "aws"

    def __str__(self) -> str:
        """The ARN as AWS writes it."""
        return (
            f"arn:{self.partition}:bedrock-agentcore:{self.region}:{self.account}"
            f":harness/{self.harness_id}"
        )

    @classmethod
    def parse(cls, text: str) -> "HarnessArn":
        """Read an ARN.

        Raises:
            ValueError: the text is not a harness ARN.
        """
        match = HARNESS_ARN.fullmatch(text)
        if match is None:
            raise ValueError(f"not a harness ARN: {text!r}")
        return cls(
            region=match["region"],
            account=match["account"],
            harness_id=match["harness_id"],
            partition=match["partition"] or "aws",
        )


def session_key(account: str, harness_id: str, runtime_session_id: str) -> str:
    """The one address of a session: its workflow id and its key in every table.

    A session belongs to one harness: the same runtimeSessionId under two harnesses is two sessions.
    """
    return f"session:{account}:{harness_id}:{runtime_session_id}"


def runtime_session_id(session: str) -> str:
    """The caller's own name of a session, from its key."""
    return session.rpartition(":")[2]


def sandbox_queue(host_id: str) -> str:
    """The task queue of the sandbox host that owns a session's environment."""
    return f"sandbox-{host_id}"


def volume_name(session: str) -> str:
    """The name of the directory that holds a session's files; it tells nothing of the session."""
    return hashlib.sha256(session.encode()).hexdigest()[:32]


def command_key(command_id: str) -> str:
    """The id under which an environment runs a command beside turns: never that of a tool call."""
    return f"command-{hashlib.sha256(command_id.encode()).hexdigest()[:48]}"


def host_of_queue(queue: str) -> str:
    """The sandbox host that a task queue is of."""
    return queue.removeprefix("sandbox-")
