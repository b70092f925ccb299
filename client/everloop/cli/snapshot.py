"""`everloop snapshot`: a session's files as they were."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    JsonOption,
    RegionOption,
    examples,
)
from everloop.cli.session_names import SessionArgument

if TYPE_CHECKING:
    from everloop.cli.own_api import Json

SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Its id, as `everloop snapshot list` shows it.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    snapshot = typer.Typer(
        help="Keep a session's files as they are, and put them back later.", no_args_is_help=True
    )
    made = examples("everloop snapshot create helper/monday --label before-cleanup")
    snapshot.command("create", epilog=made)(create)
    snapshot.command("list", epilog=examples("everloop snapshot list helper/monday"))(list_all)
    back = examples("everloop snapshot restore helper/monday snap-0123456789abcdef0123456789abcdef")
    snapshot.command("restore", epilog=back)(restore)
    gone = examples("everloop snapshot delete helper/monday snap-0123456789abcdef0123456789abcdef")
    snapshot.command("delete", epilog=gone)(delete)
    app.add_typer(snapshot, name="snapshot")


def create(
    session: SessionArgument,
    label: Annotated[str, typer.Option(help="A name for people.")] = "",
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Keep the session's files as they are now. Commands that run go on."""
    from everloop.cli.output import print_json, stdout

    send = _sender(session, endpoint_url, region, data_dir)
    body = {"label": label, "clientToken": uuid.uuid4().hex}
    told = _until_done(lambda: send("POST", body=body), "CREATING")
    if as_json:
        print_json(told)
    else:
        stdout().print(told["id"], markup=False, highlight=False)


def list_all(
    session: SessionArgument,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List the session's snapshots, oldest first."""
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.output import harmless, print_json, stdout

    told = _sender(session, endpoint_url, region, data_dir)("GET")
    if as_json:
        print_json(told)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("ID", "CREATED", "FILES", "BYTES", "BEFORE CALL", "LABEL"):
        table.add_column(name, no_wrap=True)
    for each in told["snapshots"]:
        cells = (
            each["id"],
            each["createdAt"][:19],
            each["entries"],
            each["contentBytes"],
            each["callId"] or "-",
        )
        table.add_row(*(Text(str(cell)) for cell in cells), Text(harmless(each["label"])))
    stdout().print(table)


def restore(
    session: SessionArgument,
    snapshot: SnapshotArgument,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Put the session's files back. Its environment is stopped, and commands that run end."""
    from everloop.cli.output import print_json, stderr

    send = _sender(session, endpoint_url, region, data_dir)
    body = {"clientToken": uuid.uuid4().hex}
    told = _until_done(lambda: send("POST", snapshot, "restore", body=body), "RESTORING")
    if as_json:
        print_json(told)
    else:
        stderr().print(f"the files are those of {snapshot}", style="dim", markup=False)


def delete(
    session: SessionArgument,
    snapshot: SnapshotArgument,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Remove a snapshot."""
    _sender(session, endpoint_url, region, data_dir)("DELETE", snapshot)


def _until_done(ask: "Callable[[], Json]", under_way: str) -> "Json":
    """Ask again while it is under way; each answer takes its time."""
    while (told := ask())["status"] == under_way:
        pass
    return told


def _sender(
    session: str, endpoint_url: str | None, region: str | None, data_dir: Path
) -> "Callable[..., Json]":
    from everloop.cli import own_api
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.session_names import find_session

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    name = find_session(Aws(connection), session)
    path = ("harnesses", name.harness_id, "sessions", name.session_id, "snapshots")

    def send(method: str, *rest: str, body: Any = None) -> "Json":
        return own_api.send(connection, method, *path, *rest, body=body)

    return send
