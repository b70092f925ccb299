"""What the demo model answers: a pure function of the conversation and the offered tools."""

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from activities.model.demo.protocol import ChatMessage, ChatRequest, OfferedFunction
from activities.model.demo.script import (
    Action,
    Approval,
    Plan,
    ReadFile,
    Shell,
    Step,
    WriteFile,
    read,
)

INTRODUCTION = """\
I am Everloop's scripted demo model: a handful of rules, not a language model. I drive the real \
loop and the real tools, so that you can see them work without a provider's key.

I understand:
- Run the shell command `date`.
- Write the file `notes.txt` with `hello`.
- Read the file `notes.txt`.
- Ask for approval. (with an inline function among the tools)
- Run the shell commands `sleep 1` and `date` in parallel.
- Repeat 3 times: run the shell command `date`.
- Count to 20.

Several of them in one message run in order. To talk to a real model, choose one in the harness.\
"""

#: Results are quoted up to this many characters; the whole is in the transcript.
QUOTED_CHARACTERS = 2_000
#: The closing words quote this many results; a long plan's are counted.
QUOTED_RESULTS = 10

_BUILTINS = {"shell", "file_operations"}
_OUTPUT = "structured_output"
_STEP = re.compile(r"Step (\d+) of \d+")
_NO = re.compile(
    r"\b(?:no|not|false|den(?:y|ied)|reject(?:ed)?|declined?|refused?)\b", re.IGNORECASE
)
_YES = re.compile(
    r"\b(?:yes|ok|okay|true|approved?|allow(?:ed)?|granted|go ahead)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Call:
    """A tool call to make."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A whole assistant message."""

    text: str
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class _Since:
    """What has happened since the user's newest text.

    Attributes:
        done: steps that were asked for.
        outcomes: the results that can be seen, oldest first, each with the name of its tool.
    """

    done: int
    outcomes: tuple[tuple[str, str], ...]


def answer(request: ChatRequest) -> Answer:
    """Answer a conversation.

    Args:
        request: the conversation and the offered tools.

    Returns:
        The next step's calls with a line that announces them, or the closing words.
    """
    text, since = _look_back(request.messages)
    plan = read(text)
    offered = [tool.function for tool in request.tools]
    output = next((function for function in offered if function.name == _OUTPUT), None)
    if not plan.steps and not plan.counts and output is None:
        return Answer(INTRODUCTION)
    asked = [said for name, said in since.outcomes if name not in {*_BUILTINS, _OUTPUT}]
    if not all(map(_approves, asked)) or since.done >= len(plan.steps):
        words = _closing_words(plan, since)
        if output is None:
            return Answer(words)
        return Answer(words, (Call(output.name, _fill_object(output.parameters, text)),))
    step = plan.steps[since.done]
    calls = [_call(action, text, offered) for action in step]
    missing = [problem for problem in calls if isinstance(problem, str)]
    if missing:
        return Answer("\n".join([*missing, _closing_words(plan, since)]).strip())
    numbered = f"Step {since.done + 1} of {len(plan.steps)}: " if len(plan.steps) > 1 else ""
    return Answer(
        f"{numbered}{_announce(step)}",
        tuple(call for call in calls if isinstance(call, Call)),
    )


def _look_back(messages: list[ChatMessage]) -> tuple[str, _Since]:
    newest = max(
        (place for place, said in enumerate(messages) if said.role == "user" and said.texts),
        default=-1,
    )
    text = messages[newest].texts[-1] if newest >= 0 else ""
    after = messages[newest + 1 :]
    steps = [said for said in after if said.tool_calls]
    names = {call.id: call.function.name for said in steps for call in said.tool_calls or []}
    outcomes = tuple(
        (names.get(said.tool_call_id or "", ""), "".join(said.texts))
        for said in after
        if said.role == "tool"
    )
    return text, _Since(_steps_done(steps), outcomes)


def _steps_done(steps: list[ChatMessage]) -> int:
    # A long plan's first steps leave the window that a model is shown: each step says its number.
    numbers = [_STEP.search("".join(said.texts)) for said in steps[-1:]]
    return next((int(found[1]) for found in numbers if found), len(steps))


def _call(action: Action, text: str, offered: list[OfferedFunction]) -> Call | str:
    names = {function.name for function in offered}
    match action:
        case Shell(command):
            wanted = Call("shell", {"command": command})
        case WriteFile(path, content):
            arguments = {"command": "create", "path": path, "file_text": content}
            wanted = Call("file_operations", arguments)
        case ReadFile(path):
            wanted = Call("file_operations", {"command": "view", "path": path})
        case Approval():
            asked = next(
                (each for each in offered if each.name not in {*_BUILTINS, _OUTPUT}),
                None,
            )
            if asked is None:
                return (
                    "I cannot ask for approval: no inline function is among the tools I am offered."
                )
            return Call(asked.name, _fill_object(asked.parameters, text))
    if wanted.name not in names:
        return f"I cannot do that: the tool `{wanted.name}` is not among those I am offered."
    return wanted


def _fill_object(schema: dict[str, Any], text: str) -> dict[str, Any]:
    properties: dict[str, Any] = schema.get("properties", {})
    wanted: list[str] = schema.get("required", list(properties))
    return {name: _fill(properties.get(name, {}), text) for name in wanted}


def _fill(schema: dict[str, Any], text: str) -> Any:
    """A value that a JSON schema accepts; strings hold the user's text."""
    if "enum" in schema:
        return schema["enum"][0]
    kind: str | list[str] = schema.get("type", "object" if "properties" in schema else "string")
    match kind if isinstance(kind, str) else kind[0]:
        case "object":
            return _fill_object(schema, text)
        case "array":
            return [_fill(schema.get("items", {}), text)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text[: schema.get("maxLength", len(text))]


def _announce(step: Step) -> str:
    return " ".join(_sentence(action) for action in step)


def _sentence(action: Action) -> str:
    match action:
        case Shell(command):
            return f"I run `{command}`."
        case WriteFile(path, _):
            return f"I write the file `{path}`."
        case ReadFile(path):
            return f"I read the file `{path}`."
        case Approval():
            return "I ask for approval."


def _closing_words(plan: Plan, since: _Since) -> str:
    said = [_account(name, result) for name, result in since.outcomes[-QUOTED_RESULTS:]]
    if since.done > QUOTED_RESULTS:
        said.insert(0, f"All {since.done} steps are done; these are the last results.")
    said.extend(" ".join(str(number) for number in range(1, top + 1)) for top in plan.counts)
    return "\n\n".join(said)


def _account(name: str, result: str) -> str:
    if name not in _BUILTINS:
        return "It was approved." if _approves(result) else "It was not approved, so I stop here."
    if name == "file_operations":
        return _quoted(result)
    return f"The command gave:\n\n```\n{_quoted(_printed(result).rstrip())}\n```"


def _printed(result: str) -> str:
    """What a command wrote, when the result says so in the way of `shell`."""
    try:
        value: Any = json.loads(result)
    except ValueError:
        return result
    if not isinstance(value, dict):
        return result
    told = cast(dict[str, Any], value)
    wrote = f"{told.get('stdout', '')}{told.get('stderr', '')}"
    if told.get("exit_code") == 0 and wrote:
        return wrote
    return f"{wrote}(exit code {told.get('exit_code')})"


def _quoted(result: str) -> str:
    if len(result) <= QUOTED_CHARACTERS:
        return result
    return f"{result[:QUOTED_CHARACTERS]}... ({len(result) - QUOTED_CHARACTERS} characters more)"


def _approves(said: str) -> bool:
    """Whether an answer is a yes; any word of refusal makes it a no."""
    try:
        value: Any = json.loads(said)
    except ValueError:
        value = None
    if isinstance(value, bool):
        return value
    return bool(_YES.search(said)) and not _NO.search(said)
