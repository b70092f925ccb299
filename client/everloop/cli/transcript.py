"""`everloop transcript` and `everloop export`: what was said in a session."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    HarnessArgument,
    RegionOption,
    examples,
)

if TYPE_CHECKING:
    from everloop.cli.view import View
    from everloop.sessions import Json

SessionOption = Annotated[str, typer.Option("--session-id", metavar="ID", help="The session.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "transcript",
        help="Show what was said in a session, message by message.",
        epilog=examples(
            "everloop transcript helper --session-id monday",
            "everloop transcript helper --session-id monday --after-seq 20 --json",
        ),
    )(transcript)
    app.command(
        "export",
        help="Write a whole session as JSON Lines: the session, its invocations, messages and tool "
        "calls, and a last line of type end.",
        epilog=examples("everloop export helper --session-id monday --output monday.jsonl"),
    )(export)


def transcript(
    harness: HarnessArgument,
    session_id: SessionOption,
    after_seq: Annotated[
        int, typer.Option(metavar="SEQ", min=0, help="Begin behind this message.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the messages, one JSON object a line.")
    ] = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show a transcript."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.output import stdout, to_json
    from everloop.cli.view import View
    from everloop.sessions import Sessions

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    harness_id = names.find_harness(Aws(connection), harness).harness_id
    found = Sessions.over(connection).transcript(
        harness_id, names.session_id(session_id), after_seq=after_seq
    )
    view = View(stdout())
    for message in found:
        if as_json:
            print(to_json(message))
        else:
            model = f" · {message['modelId']}" if "modelId" in message else ""
            stdout().print(f"{message['seq']} {message['role']}{model}", style="bold", markup=False)
            _show(view, message)


def export(
    harness: HarnessArgument,
    session_id: SessionOption,
    output: Annotated[
        Path | None,
        typer.Option(dir_okay=False, metavar="FILE", help="Where to; else standard output."),
    ] = None,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Export a session."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.output import to_json
    from everloop.sessions import Sessions

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    harness_id = names.find_harness(Aws(connection), harness).harness_id
    lines = Sessions.over(connection).export(harness_id, names.session_id(session_id))
    if output is None:
        for line in lines:
            sys.stdout.write(f"{to_json(line)}\n")
        return
    # Whoever finds the file under its name finds it whole.
    fresh = output.with_name(f"{output.name}.part")
    with fresh.open("w", encoding="utf-8") as file:
        file.writelines(f"{to_json(line)}\n" for line in lines)
    fresh.replace(output)


def _show(view: "View", message: "Json") -> None:
    from everloop.cli.happenings import MessageEnd, TextPiece, ThoughtPiece, ToolCall, ToolResult
    from everloop.cli.output import harmless, stdout

    for block in message["content"]:
        match block:
            case {"text": str(text)}:
                view.show(TextPiece(text))
            case {"reasoningContent": {"reasoningText": {"text": str(text)}}}:
                view.show(ThoughtPiece(text))
            case {"toolUse": {"toolUseId": str(id_), "name": str(name), "input": arguments}}:
                view.show(ToolCall(id_, name, arguments))
            case {"toolResult": {"toolUseId": str(id_), "status": str(status), "content": pieces}}:
                view.show(ToolResult(id_, "", status, "".join(one["text"] for one in pieces)))
            case _:
                pass
    for call, snapshot in message.get("snapshots", {}).items():
        told = f"  {snapshot} has the files as they were before {call}"
        stdout().print(harmless(told), style="dim", markup=False)
    view.show(MessageEnd(message["role"], message.get("stopReason", "")))
