"""Which tools an invocation offers to the model, and who runs each."""

from typing import Any

from activities.tools.schemas import BUILTIN_TOOLS, MAX_SHELL_TIMEOUT_S, SHELL, SHELL_TIMEOUT_S
from contracts.agents import AGENTS, TASK_SCHEMA, Agent
from contracts.allowed_tools import is_allowed
from contracts.harness import HarnessConfig, OutputSpec, RunConfig, Tool, ToolType
from contracts.ids import sandbox_queue
from contracts.tools import OUTPUT_TOOL, Repeat, ToolKind, ToolSpec
from contracts.turn import TASK_QUEUE, CallRef
from store import Store

#: A file operation is local to the environment; this only bounds a wedged one.
FILE_TIMEOUT_S = 60


class ToolCatalog:
    """Resolves the tools of a run."""

    def __init__(self, store: Store, host_id: str) -> None:
        """Make a catalog.

        Args:
            store: knows which sandbox host owns a session.
            host_id: the sandbox host that sessions without one are given when none is alive.
        """
        self._store = store
        self._host_id = host_id

    def offered(self, run: RunConfig) -> tuple[ToolSpec, ...]:
        """The tools that the model is shown: built-ins, the harness's own, then its agents."""
        candidates = (
            *BUILTIN_TOOLS,
            *(_inline(tool) for tool in run.config.tools),
            *(_agent(agent) for agent in run.config.extensions.agents or ()),
        )
        allowed = run.config.allowed_tools
        offered = [spec for spec in candidates if is_allowed(spec.namespace, spec.name, allowed)]
        if run.output is not None:
            # Whoever asks for a result allows the one way to give it.
            offered.append(_output(run.output))
        return tuple(offered)

    async def queue_for(self, session: str, spec: ToolSpec) -> str | None:
        """The task queue that runs a tool; None when the caller does.

        Args:
            session: the session's key.
            spec: the tool.
        """
        if spec.kind is ToolKind.INLINE:
            return None
        if spec.kind is ToolKind.AGENT:
            return TASK_QUEUE
        return sandbox_queue(await self._store.environments.assign(session, None) or self._host_id)

    def timeout_for(self, spec: ToolSpec, arguments: dict[str, Any]) -> int:
        """Seconds that a call may take, by the tool's own rules."""
        if spec.kind is ToolKind.AGENT:
            # The turn's own limit bounds it.
            return 0
        if spec.name != SHELL.name:
            return FILE_TIMEOUT_S
        return shell_seconds(arguments)


def call_ref(id: str, kind: ToolKind | None, queue: str | None, timeout_s: int) -> CallRef:
    """A call as the workflow knows it.

    Calls of the sandbox are worth a try at once, but for those that ask for more time than calls
    have of themselves.
    """
    return CallRef(
        id=id,
        queue=queue,
        timeout_s=timeout_s,
        agent=kind is ToolKind.AGENT,
        quick=kind is ToolKind.SANDBOX and timeout_s <= SHELL_TIMEOUT_S,
    )


def shell_seconds(arguments: dict[str, Any]) -> int:
    """Seconds that a command may take."""
    asked = arguments.get("timeout")
    if not isinstance(asked, int) or isinstance(asked, bool):
        return SHELL_TIMEOUT_S
    return min(max(asked, 1), MAX_SHELL_TIMEOUT_S)


def _output(spec: OutputSpec) -> ToolSpec:
    return ToolSpec(
        name=OUTPUT_TOOL,
        description=(
            "Give the final result of your work. Call it once, when everything else is done, in "
            "place of a closing message: it ends your work. If the arguments do not fit its "
            "schema, you are told what is wrong and call it again."
        ),
        schema=spec.json_schema,
        kind=ToolKind.OUTPUT,
        namespace=OUTPUT_TOOL,
        repeat=Repeat.IDEMPOTENT,
    )


def _agent(agent: Agent) -> ToolSpec:
    return ToolSpec(
        name=agent.name,
        description=agent.description,
        schema=TASK_SCHEMA,
        kind=ToolKind.AGENT,
        namespace=AGENTS,
        repeat=Repeat.KEYED,
    )


def unserved(config: HarnessConfig) -> str | None:
    """Why no turn could run with a configuration here; None when one can.

    The API refuses such tools. A configuration that another release wrote may still have them.
    """
    try:
        for tool in config.tools:
            _inline(tool)
    except ValueError as error:
        return f"The configuration cannot be served: {error}."
    return None


def _inline(tool: Tool) -> ToolSpec:
    function = tool.config.inline_function if tool.config else None
    if tool.type is not ToolType.INLINE_FUNCTION or function is None or tool.name is None:
        raise ValueError(f"tool {tool.name!r} of type {tool.type} is not served")
    return ToolSpec(
        name=tool.name,
        description=function.description,
        schema=function.input_schema,
        kind=ToolKind.INLINE,
        namespace=tool.name,
        repeat=Repeat.ONCE,
    )
