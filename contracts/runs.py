"""What crosses between the `RunHarness` workflow and its activities.

Its input and result are public: `everloop.runs`. A field may be added with a default; renaming or
removing one breaks histories and needs a new name.
"""

from dataclasses import dataclass
from enum import StrEnum

from everloop.runs import HarnessOutcome, HarnessRun


class RunActivity(StrEnum):
    """Activity names."""

    ADMIT = "admit_run"
    DELIVER = "deliver_run"
    READ = "read_run"
    ALIVE = "run_is_alive"
    STOP = "stop_run"
    ADMIT_AGENT = "admit_agent"
    FINISH_AGENT = "finish_agent"


#: The workflow type that runs a harness for a tool call of another one.
AGENT_WORKFLOW = "RunAgent"
#: To such a workflow: end, and leave the agent as it is; its caller comes back to it.
SIGNAL_LET_GO = "let_go"


class AgentStanding(StrEnum):
    """What `RunAgent` ends with."""

    #: The call has its result.
    OVER = "over"
    #: All that the agent does is to wait for people.
    WAITS = "waits"
    #: The agent works again.
    WORKS = "works"


@dataclass(frozen=True)
class AgentCall:
    """A tool call that runs another harness; its task is in the store.

    Attributes:
        session: the calling session's key.
        invocation_id: the invocation whose turn runs the call.
        tool_use_id: the call.
        waits: what the caller believes of the agent, to be told once it is otherwise; None for a
            caller of a release that was not told, and that waits for the end.
        again: whether the agent's run has begun; one that is gone by now does not begin anew.
    """

    session: str
    invocation_id: str
    tool_use_id: str
    waits: bool | None = None
    again: bool = False


@dataclass(frozen=True)
class FinishAgent:
    """An agent's run that has ended, or was given up: its result is the call's.

    Attributes:
        call: the call.
        admitted: the run.
    """

    call: AgentCall
    admitted: "AdmittedRun"


@dataclass(frozen=True)
class AdmitRun:
    """A run to admit.

    Attributes:
        run: what was asked for.
        key: names the invocation, together with the workflow's id.
    """

    run: HarnessRun
    key: str


@dataclass(frozen=True)
class AdmittedRun:
    """A run that the store knows.

    Attributes:
        session: the session's key.
        session_id: the caller's name of the session.
        invocation_id: the invocation that begins the run.
        harness_arn: what runs.
        harness_version: in which version.
    """

    session: str
    session_id: str
    invocation_id: str
    harness_arn: str
    harness_version: str


@dataclass(frozen=True)
class ReadRun:
    """A run to be read.

    Attributes:
        admitted: the run.
        wants_output: whether a structured result was asked for.
        max_text_bytes: where its text is cut.
    """

    admitted: AdmittedRun
    wants_output: bool
    max_text_bytes: int


@dataclass(frozen=True)
class RunFailure:
    """Why a run gave no result: the type and message of the workflow's failure."""

    type: str
    message: str
    stop_reason: str | None = None


@dataclass(frozen=True)
class RunState:
    """How a run stands; while it is not over, outcome and failure are None.

    Attributes:
        waiting: whether it waits for people.
        below: whether it does nothing but wait for agents that wait for people.
        outcome: its result.
        failure: why it has none.
    """

    waiting: bool = False
    below: bool = False
    outcome: HarnessOutcome | None = None
    failure: RunFailure | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.outcome is not None or self.failure is not None
