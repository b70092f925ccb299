"""`everloop usage`: tokens and money of a harness, a session or an invocation."""

from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    HarnessArgument,
    JsonOption,
    RegionOption,
    examples,
)

if TYPE_CHECKING:
    from everloop.cli.own_api import Json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "usage",
        help="Show what a harness's sessions used: tokens by kind, and money where the price of "
        "the model is known.",
        epilog=examples(
            "everloop usage helper",
            "everloop usage helper --session-id demo",
            "everloop usage helper --max-results 20",
            "everloop usage helper --json | jq .usage.costUsd",
        ),
    )(usage)


def usage(
    harness: HarnessArgument,
    session_id: Annotated[
        str | None, typer.Option(help="Only this session, invocation by invocation.", metavar="ID")
    ] = None,
    invocation_id: Annotated[
        str | None,
        typer.Option(
            help="Only this invocation of the session, model call by model call.", metavar="ID"
        ),
    ] = None,
    max_results: Annotated[
        int | None,
        typer.Option(help="Sessions or invocations on a page; 100 when left out.", min=1, max=1000),
    ] = None,
    next_token: Annotated[
        str | None,
        typer.Option(help="Go on behind the page that gave this token.", metavar="TOKEN"),
    ] = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show usage."""
    from everloop.cli import names, own_api
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.errors import UsageError
    from everloop.cli.output import print_json, stderr, stdout

    if invocation_id is not None and session_id is None:
        raise UsageError("--invocation-id needs --session-id")
    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    path = ["harnesses", names.find_harness(Aws(connection), harness).harness_id]
    if session_id is not None:
        path += ["sessions", names.session_id(session_id)]
    if invocation_id is not None:
        path += ["invocations", names.invocation_id(invocation_id)]
    asked = {"maxResults": max_results, "nextToken": next_token}
    query = {name: str(value) for name, value in asked.items() if value is not None}
    if query and invocation_id is not None:
        raise UsageError("an invocation's model calls come on one page")
    found = own_api.get(connection, *path, "usage", query=query)
    if as_json:
        print_json(found)
    else:
        stdout().print(_table(found))
        if "nextToken" in found:
            stderr().print(f"more with: --next-token {found['nextToken']}", markup=False)


def money(used: "Json") -> str:
    """The cost for a person: `$0.0123`, `?` when unknown, `$0.0123 + ?` when known in part."""
    cost, unpriced = used["costUsd"], used["unpricedModelCalls"]
    if cost is None:
        return "?" if unpriced else "-"
    shown = f"${cost:.2f}" if cost >= 1 else f"${cost:.6f}"
    return f"{shown} + ?" if unpriced else shown


def _table(found: "Json") -> object:
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.output import harmless

    rows, title = _rows(found)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, no_wrap=True)
    for heading in ("calls", "in", "out", "cache read", "cache write", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, used in [*rows, ("total", found["usage"])]:
        cells = (
            used["modelCalls"],
            used["inputTokens"],
            used["outputTokens"],
            used["cacheReadInputTokens"],
            used["cacheWriteInputTokens"],
        )
        style = "bold" if name == "total" else ""
        shown = [harmless(name), *(f"{cell:,}" for cell in cells), money(used)]
        table.add_row(*(Text(cell) for cell in shown), style=style)
    return table


def _rows(found: "Json") -> "tuple[list[tuple[str, Json]], str]":
    """What is listed one by one, and what it is called."""
    if "modelCalls" in found:
        calls = found["modelCalls"]
        return [(f"{one['step']} {one['modelId']}", one["usage"]) for one in calls], "model call"
    if "invocations" in found:
        return [(one["invocationId"], one["usage"]) for one in found["invocations"]], "invocation"
    return [(one["runtimeSessionId"], one["usage"]) for one in found["sessions"]], "session"
