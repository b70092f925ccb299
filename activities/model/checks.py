"""Whether a tool call that a model asks for can be made at all."""

from collections.abc import Sequence

from contracts.messages import ToolUseBlock
from contracts.tools import ToolSpec
from store.schema_faults import schema_faults


def refusal(use: ToolUseBlock, offered: Sequence[ToolSpec]) -> str | None:
    """Why a call cannot be made, in words for the model; None when it can.

    Args:
        use: the call.
        offered: the tools that the invocation may use.
    """
    spec = next((spec for spec in offered if spec.name == use.name), None)
    if spec is None:
        names = ", ".join(f"`{spec.name}`" for spec in offered) or "none"
        return f"Error: there is no tool named `{use.name}`. The tools are: {names}."
    faults = schema_faults(spec.schema, use.input)
    if not faults:
        return None
    return f"Error: the arguments do not fit the schema of `{use.name}`: {'; '.join(faults)}."
