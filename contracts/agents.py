"""Other harnesses as tools of a harness: what names them, and how deep they may go.

A call of such a tool is a run of the other harness in a session of its own, whose id follows from
the calling session and the call.
"""

import hashlib
from typing import Annotated

from pydantic import Field

from contracts.base import WireValue

#: The namespace of agents in the `allowedTools` grammar.
AGENTS = "agents"
#: Of one harness: each is a tool that the model reads with every call.
MAX_AGENTS = 20
#: Agents below the invocation that a caller began: deeper ones are refused, and with them circles.
MAX_AGENT_DEPTH = 4
#: Of a session id made here; with its prefix it is within AWS's 33 to 100 characters.
_DIGEST_CHARACTERS = 40

#: The schema of an agent's arguments.
TASK_SCHEMA = {
    "type": "object",
    "properties": {
        "task": {
            "type": "string",
            "minLength": 1,
            "description": "What the agent is to do. It knows nothing else of this conversation.",
        }
    },
    "required": ["task"],
    "additionalProperties": False,
}


class Agent(WireValue):
    """A harness as a tool.

    Attributes:
        name: the tool's name.
        harness: the harness's name, id or ARN, or the ARN of one of its endpoints.
        qualifier: one of its endpoints; the newest version when absent.
        description: what the model reads.
    """

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    harness: Annotated[str, Field(min_length=1, max_length=2048)]
    qualifier: Annotated[str, Field(min_length=1, max_length=48)] | None = None
    description: Annotated[str, Field(min_length=1, max_length=4096)]


class Lineage(WireValue):
    """Where an agent's run comes from.

    Attributes:
        depth: agents above it, and itself.
        root_session: the session of the invocation that a caller began, as
            `HARNESS_ID/RUNTIME_SESSION_ID`.
    """

    depth: int
    root_session: str


def agent_session_id(session: str, tool_use_id: str) -> str:
    """The session id of an agent's run: the same call always has the same.

    Args:
        session: the calling session's key.
        tool_use_id: the call.
    """
    digest = hashlib.sha256(f"{session}\0{tool_use_id}".encode()).hexdigest()
    return f"agent-{digest[:_DIGEST_CHARACTERS]}"
