"""The `shell` tool: a bash command in the session's environment.

AgentCore answers with JSON text of `stdout`, `stderr` and `exit_code`, and calls a command that
exits with another code than 0 a success of the tool. Where there is more to say, `note` says it.
"""

import json

from activities.tools.outcome import Outcome, SandboxCall, files_lost, session_notes
from activities.tools.schemas import MAX_SHELL_TIMEOUT_S, SHELL_TIMEOUT_S
from contracts.environment import CommandEnd, CommandResult
from contracts.messages import ToolStatus

LOST = (
    "The environment restarted while this command ran. It may have had a partial effect, and it "
    "was not run again. Files are kept; processes and everything outside of {mount} are gone."
)
LOST_WITH_FILES = (
    "The machine died while this command ran. It may have had an effect elsewhere, and it was not "
    "run again."
)
_DISK = "The command was ended because the session's files take more than {mib} MiB."
_BACKGROUND = "Processes that this command started still run."
_MEMORY = "The command was ended because the environment used more than {mib} MiB of memory."


async def run_shell(call: SandboxCall) -> Outcome:
    """Run the command of a call, or join it when it was sent before.

    Raises:
        EnvironmentGone: the environment ended under it.
        EnvironmentRefused: it was not run.
    """
    command = call.arguments.get("command")
    timeout_s = call.arguments.get("timeout", SHELL_TIMEOUT_S)
    if not isinstance(command, str):
        return Outcome(ToolStatus.ERROR, "Error: command must be a string")
    if not isinstance(timeout_s, int) or isinstance(timeout_s, bool):
        return Outcome(ToolStatus.ERROR, "Error: timeout must be a whole number of seconds")
    if not 1 <= timeout_s <= MAX_SHELL_TIMEOUT_S:
        return Outcome(
            ToolStatus.ERROR,
            f"Error: timeout must be from 1 to {MAX_SHELL_TIMEOUT_S} seconds, not {timeout_s}",
        )
    result = await call.environment.exec(
        call.id,
        command,
        timeout_s=timeout_s,
        output_bytes=call.spec.limits.output_bytes,
        variables=call.spec.variables,
    )
    ended = result.end is CommandEnd.EXITED
    return Outcome(
        ToolStatus.SUCCESS if ended else ToolStatus.ERROR,
        _text(result, _notes(result, call, timeout_s)),
    )


def lost(mount: str, *, with_files: bool = False) -> Outcome:
    """The result of a command whose environment ended under it, maybe with the session's files."""
    note = f"{LOST_WITH_FILES} {files_lost(mount)}" if with_files else LOST.format(mount=mount)
    return Outcome(ToolStatus.ERROR, _text(CommandResult(CommandEnd.LOST, None), [note]))


def _notes(result: CommandResult, call: SandboxCall, timeout_s: int) -> list[str]:
    notes: list[str] = []
    if result.end is CommandEnd.TIMED_OUT:
        notes.append(f"The command was ended after {timeout_s} seconds; this is what it wrote.")
    if result.end is CommandEnd.OUT_OF_MEMORY:
        notes.append(_MEMORY.format(mib=call.spec.limits.memory_bytes // 1024**2))
    if result.end is CommandEnd.CANCELLED:
        notes.append("The command was cancelled.")
    if result.left_out_bytes:
        notes.append(f"{result.left_out_bytes} bytes of output are left out.")
    if result.background:
        notes.append(_BACKGROUND)
    if result.output_file is not None:
        notes.append(f"Full output: {result.output_file}")
    if result.end is CommandEnd.OUT_OF_DISK:
        notes.append(_DISK.format(mib=call.spec.limits.disk_bytes // 1024**2))
    return notes + session_notes(call)


def _text(result: CommandResult, notes: list[str]) -> str:
    value: dict[str, object] = {
        "stdout": result.stdout,
        "stderr": result.stderr,
        "exit_code": result.exit_code,
    }
    if result.end is not CommandEnd.EXITED:
        value["ended"] = result.end.value
    if notes:
        value["note"] = " ".join(notes)
    return json.dumps(value, ensure_ascii=False)
