"""The `file_operations` tool: viewing and editing files in the session's environment.

agentd does the work and words the result (`environments/agentd_files.py`), so that a path means
what it means to a command.
"""

from typing import Any

from activities.tools.outcome import Outcome, SandboxCall, files_lost, session_notes
from contracts.errors import EnvironmentRefused
from contracts.messages import ToolStatus

LOST = (
    "Error: the environment restarted while this operation ran. It may or may not have been done, "
    "and it was not done again. View the file to see. Files are kept."
)
_NAMES = ("command", "path", "old_str", "new_str", "file_text", "insert_line", "view_range")


async def run_file_operation(call: SandboxCall) -> Outcome:
    """Do the operation of a call, or get its result when it was done before.

    Raises:
        EnvironmentGone: the environment ended under it.
        EnvironmentRefused: agentd failed.
    """
    arguments = {name: call.arguments[name] for name in _NAMES if name in call.arguments}
    try:
        text = await call.environment.file(call.id, arguments)
    except EnvironmentRefused as refusal:
        if refusal.code != "bad_request":
            raise
        text = f"Error: {refusal}"
    failed = text.startswith("Error: ")
    notes = "".join(f"\n\nNote: {note}" for note in session_notes(call))
    return Outcome(ToolStatus.ERROR if failed else ToolStatus.SUCCESS, text + notes)


def lost(mount: str, *, with_files: bool = False) -> Outcome:
    """The result of an operation whose environment ended under it, maybe with the files."""
    note = f"\n\nNote: {files_lost(mount)}" if with_files else ""
    return Outcome(ToolStatus.ERROR, LOST + note)


def only_reads(arguments: dict[str, Any]) -> bool:
    """Whether an operation can be repeated without a thought."""
    return arguments.get("command") == "view"
