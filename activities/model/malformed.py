"""Tool calls whose arguments a model garbled: one round to mend them, then the turn ends.

Such a call gets an error as its result, which the model reads. A model that garbles its arguments
again right after has lost the thread, and every further round would cost money for nothing.
"""

from collections.abc import Sequence

from activities.model.assemble import Settled, arguments_of
from activities.model.checks import faults_of
from contracts.messages import Message, StopReason, TextBlock, ToolUseBlock
from contracts.tools import ToolSpec


def is_garbled(use: ToolUseBlock, offered: Sequence[ToolSpec]) -> bool:
    """Whether a call's arguments are no JSON object, or are missing though the tool needs some.

    OpenAI streams no fragment at all for a call without arguments, which is right for a tool whose
    schema takes `{}` and a fault for any other, whatever keyword of the schema asks for members.
    Arguments that are there and do not fit the schema are an honest mistake, and no fault of form.
    """
    try:
        arguments = arguments_of(use.input_text)
    except ValueError:
        return True
    spec = next((spec for spec in offered if spec.name == use.name), None)
    return spec is not None and not arguments and bool(faults_of(spec.schema, {}))


def ends_turn(
    settled: Settled, conversation: Sequence[Message], offered: Sequence[ToolSpec]
) -> bool:
    """Whether an answer garbles arguments for the second time in a row.

    Args:
        settled: the answer.
        conversation: what the model had read; words of the user since its last call count as a new
            beginning.
        offered: the tools that it may call.
    """
    if not any(is_garbled(use, offered) for use in settled.message.tool_uses):
        return False
    for message in reversed(conversation):
        if message.role == "assistant":
            return any(is_garbled(use, offered) for use in message.tool_uses)
        if any(isinstance(block, TextBlock) for block in message.blocks):
            return False
    return False


def as_end(settled: Settled) -> Settled:
    """The same answer, as the end of its turn."""
    reason = StopReason.MALFORMED_TOOL_USE
    message = settled.message.model_copy(update={"stop_reason": reason})
    return Settled(message, reason, settled.usage, settled.failures, settled.cost_pico_usd)
