"""The two ends of an agent's run: from a tool call to an invocation, and from its end to a result.

Both are store transactions that may run again at any point: the invocation's id follows from the
call, and the first result of a call stays.
"""

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.context import session_key as workflow_id
from activities.runs.admission import Asker, admit
from activities.runs.outcome import read_state
from contracts.agents import MAX_AGENT_DEPTH, Agent, Lineage, agent_session_id
from contracts.errors import AwsError, ServiceError
from contracts.harness import RunConfig
from contracts.ids import HarnessArn, runtime_session_id
from contracts.messages import ToolStatus
from contracts.runs import AdmittedRun, AgentCall, FinishAgent, ReadRun, RunActivity, RunState
from contracts.settings import Settings
from everloop.runs import HarnessRun
from everloop.types import StopReason
from store import Store

#: UTF-8 bytes of an agent's words that the calling model reads: what a long report takes. The
#: whole is in the agent's session.
MAX_AGENT_TEXT_BYTES = 64_000
#: The invocation's key beside the workflow's id, which names the call.
_KEY = "agent"
#: Errors of AWS's that another try may mend.
_PASSING = (AwsError.INTERNAL, AwsError.THROTTLING)


class AgentActivities:
    """Serves `RunAgent`."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Work on a store."""
        self._store = store
        self._settings = settings

    @activity.defn(name=RunActivity.ADMIT_AGENT)
    async def admit_agent(self, call: AgentCall) -> AdmittedRun | None:
        """Keep the invocation that a call asks for.

        Returns:
            The run; None when it was refused, which then is the call's result, or when the call
            went with its session.

        Raises:
            ApplicationError: retryable: the store cannot take it now.
        """
        try:
            record = await self._store.calls.get(call.session, call.tool_use_id)
            config = await self._store.turns.config(call.session, call.invocation_id)
        except ServiceError as missing:
            if missing.detail.error is not AwsError.NOT_FOUND:
                raise
            return None
        agents = config.config.extensions.agents or ()
        agent = next((each for each in agents if each.name == record.name), None)
        lineage = _lineage(config, call.session)
        if agent is None:
            return await self._refuse(call, "there is no such agent any more")
        if lineage.depth > MAX_AGENT_DEPTH:
            return await self._refuse(call, f"agents call agents {MAX_AGENT_DEPTH} deep at most")
        try:
            return await admit(
                self._store,
                self._settings,
                _run_of(agent, call, config.actor_id, record.input["task"]),
                Asker(workflow_id(), _KEY),
                lineage,
                called_from=call.session,
                begins=not call.again,
            )
        except ServiceError as error:
            if error.detail.error in _PASSING:
                name = error.detail.error.value
                raise ApplicationError(error.detail.message, type=name) from None
            return await self._refuse(call, error.detail.message)

    @activity.defn(name=RunActivity.FINISH_AGENT)
    async def finish_agent(self, end: FinishAgent) -> None:
        """Make an agent's last words the result of its call."""
        ask = ReadRun(end.admitted, False, MAX_AGENT_TEXT_BYTES)
        await self._finish(end.call, *_result(await read_state(self._store, ask)))

    async def _refuse(self, call: AgentCall, why: str) -> None:
        await self._finish(call, ToolStatus.ERROR, f"Error: the agent was not run: {why}")

    async def _finish(self, call: AgentCall, status: ToolStatus, text: str) -> None:
        try:
            await self._store.calls.finish(
                call.session, call.tool_use_id, status=status, content=(text,)
            )
        except ServiceError as missing:
            # The calling session was deleted, and the call with it.
            if missing.detail.error is not AwsError.NOT_FOUND:
                raise


def _lineage(config: RunConfig, session: str) -> Lineage:
    """Of a run that is called from an invocation with this configuration."""
    if config.lineage is not None:
        return Lineage(depth=config.lineage.depth + 1, root_session=config.lineage.root_session)
    harness_id = HarnessArn.parse(config.harness_arn).harness_id
    return Lineage(depth=1, root_session=f"{harness_id}/{runtime_session_id(session)}")


def _run_of(agent: Agent, call: AgentCall, actor_id: str, task: str) -> HarnessRun:
    return HarnessRun(
        harness=agent.harness,
        prompt=task,
        qualifier=agent.qualifier,
        session_id=agent_session_id(call.session, call.tool_use_id),
        actor_id=actor_id,
    )


def _result(state: RunState) -> tuple[ToolStatus, str]:
    """What the calling model reads."""
    if state.outcome is None:
        why = state.failure.message if state.failure else "it was stopped"
        return ToolStatus.ERROR, f"Error: the agent failed: {why}"
    outcome = state.outcome
    text = "".join(block.get("text", "") for block in outcome.content)
    if outcome.truncated:
        text = f"{text}\n(cut after {MAX_AGENT_TEXT_BYTES} bytes)"
    if outcome.stop_reason in (StopReason.END_TURN, StopReason.STOP_SEQUENCE):
        return ToolStatus.SUCCESS, text or "(the agent said nothing)"
    early = f"Error: the agent stopped early: {outcome.stop_reason.value}."
    return ToolStatus.ERROR, f"{early} It last said:\n{text}" if text else early
