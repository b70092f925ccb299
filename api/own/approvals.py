"""The dry run of approval rules: what would become of a call, and why."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from api.context import Context
from api.own.request import OwnRequest
from contracts.agents import AGENTS
from contracts.allowed_tools import is_allowed
from contracts.approvals import Approvals, judge
from contracts.base import WireValue
from contracts.harness import HarnessConfig
from contracts.tools import BUILTIN, BUILTIN_NAMES, Repeat, ToolKind, ToolSpec


class DryRun(WireValue):
    """The body of a dry run.

    Attributes:
        tool: a tool's name, or `@namespace/name`.
        arguments: of the call.
        destructive: whether the tool is to be taken as one that declares itself destructive.
        approvals: rules to try instead of the harness's own.
        harness_version: whose rules; the newest version's when absent.
    """

    tool: Annotated[str, Field(pattern=r"^(@[^/]+/)?[^/@]+$", max_length=129)]
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any])
    destructive: bool = False
    approvals: Approvals | None = None
    harness_version: str | None = None


async def dry_run(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Which rule would decide about a call; nothing is done.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException.
    """
    body = request.read(DryRun)
    harness = await context.store.harnesses.get(
        context.settings.account, request.labels["harnessId"], body.harness_version
    )
    namespace, name = _pair(body.tool, harness.config)
    spec = ToolSpec(
        name=name,
        description="",
        kind=ToolKind.SANDBOX,
        namespace=namespace,
        repeat=Repeat.ONCE,
        destructive=body.destructive,
    )
    judgement = judge(body.approvals or harness.config.extensions.approvals, spec, body.arguments)
    return {
        "harnessId": harness.harness_id,
        "harnessVersion": harness.version,
        "tool": f"@{namespace}/{name}",
        "offered": _is_offered(namespace, name, harness.config),
        **judgement.model_dump(mode="json", exclude_none=True),
    }


def _pair(tool: str, config: HarnessConfig) -> tuple[str, str]:
    """Namespace and name: an inline function's namespace is its own name."""
    if tool.startswith("@"):
        namespace, _, name = tool[1:].partition("/")
        return namespace, name
    if any(each.name == tool for each in config.extensions.agents or ()):
        return AGENTS, tool
    return (tool if any(each.name == tool for each in config.tools) else BUILTIN), tool


def _is_offered(namespace: str, name: str, config: HarnessConfig) -> bool:
    """Whether the harness's model is shown the tool; a name with a mistake in it is none."""
    known = {
        *((BUILTIN, each) for each in BUILTIN_NAMES),
        *((each.name, each.name) for each in config.tools),
        *((AGENTS, each.name) for each in config.extensions.agents or ()),
    }
    return (namespace, name) in known and is_allowed(namespace, name, config.allowed_tools)
