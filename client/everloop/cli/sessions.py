"""`everloop sessions`: list sessions, or look at one."""

from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    JsonOption,
    RegionOption,
    examples,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everloop.sessions import Json

#: Sessions shown unless the command says otherwise.
SHOWN = 50


class State(StrEnum):
    """What a session does."""

    RUNNING = "running"
    WAITING = "waiting"
    IDLE = "idle"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "sessions",
        help="List sessions, newest first; or show one with its invocations.",
        epilog=examples(
            "everloop sessions",
            "everloop sessions helper --state waiting",
            "everloop sessions helper --created-after 2026-01-31 --json",
            "everloop sessions helper --session-id monday",
        ),
    )(sessions)


def sessions(
    harness: Annotated[
        str | None,
        typer.Argument(
            metavar="[HARNESS]",
            help="Only of this harness, by name, id or ARN.",
            show_default=False,
        ),
    ] = None,
    session_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Show this session of the harness.")
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only those that do this now.")] = None,
    actor_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those that this actor began.")
    ] = None,
    created_after: Annotated[datetime | None, typer.Option(help="Only younger ones.")] = None,
    created_before: Annotated[datetime | None, typer.Option(help="Only older ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = SHOWN,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List sessions."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.errors import UsageError
    from everloop.cli.output import print_json, stdout
    from everloop.sessions import Sessions

    if session_id is not None and harness is None:
        raise UsageError("--session-id needs the harness")
    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    of = Sessions.over(connection)
    harness_id = names.find_harness(Aws(connection), harness).harness_id if harness else None
    if session_id is not None and harness_id is not None:
        name = names.session_id(session_id)
        found = of.get(harness_id, name)
        found["invocations"] = list(islice(of.invocations(harness_id, name), limit))
        if as_json:
            print_json(found)
        else:
            _show(found)
        return
    listed = of.list(
        harness_id,
        state=state,
        actor_id=actor_id,
        created_after=_zoned(created_after),
        created_before=_zoned(created_before),
    )
    shown = list(islice(listed, limit))
    if as_json:
        print_json({"sessions": shown})
    else:
        stdout().print(_table(shown))


def _zoned(moment: datetime | None) -> datetime | None:
    """A time of day as the user means it: by this machine's clock."""
    return moment.astimezone() if moment is not None else None


def _table(shown: "Iterable[Json]") -> object:
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.output import harmless

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("session", "harness", "actor", "state", "messages", "last active"):
        table.add_column(heading, no_wrap=True)
    for one in shown:
        cells = (
            one["runtimeSessionId"],
            one["harnessId"],
            one["actorId"] or "-",
            one["state"],
            str(one["messages"]),
            one["activeAt"][:19].replace("T", " "),
        )
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    return table


def _show(found: "Json") -> None:
    from everloop.cli.output import harmless, stdout

    console = stdout()
    console.print(_table([found]))
    for call in found["pendingCalls"]:
        console.print(
            harmless(f"waits: {call['toolUseId']} {call['name']}"), style="yellow", markup=False
        )
    for one in found["invocations"]:
        failure = one["error"]["type"] if one["error"] else None
        how = one["stopReason"] or failure or one["state"]
        when = one["createdAt"][:19].replace("T", " ")
        console.print(harmless(f"{when}  {one['invocationId']}  {how}"), markup=False)
        _show_files(one["files"])


def _show_files(files: "Json") -> None:
    """The files of a turn, indented below it."""
    from everloop.cli.output import harmless, stdout

    console = stdout()
    for each in files["entries"]:
        size = f" ({each['size']:,} bytes)" if "size" in each else ""
        line = f"    {each['change']} {harmless(each['path'])}{size}"
        console.print(line, style="dim", markup=False)
    more = files["created"] + files["changed"] + files["removed"] - len(files["entries"])
    if more:
        console.print(f"    and {more} more: everloop files made", style="dim", markup=False)
    if "incomplete" in files:
        console.print(f"    {harmless(files['incomplete'])}", style="yellow", markup=False)
