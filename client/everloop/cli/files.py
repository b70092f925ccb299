"""`everloop files`: what is in a session."""

from pathlib import Path
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
from everloop.cli.session_names import SessionArgument

if TYPE_CHECKING:
    from everloop.cli.session_files import SessionFiles

PathArgument = Annotated[
    str,
    typer.Argument(metavar="PATH", help="In the session: relative to its volume, or absolute."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    files = typer.Typer(
        help="List, fetch, send and remove a session's files, whether or not its environment runs.",
        no_args_is_help=True,
    )
    files.command("ls", epilog=examples("everloop files ls helper/monday"))(list_files)
    files.command("get", epilog=examples("everloop files get helper/monday report.pdf"))(get)
    files.command("put", epilog=examples("everloop files put helper/monday data.csv in/"))(put)
    files.command("rm", epilog=examples("everloop files rm -r helper/monday old"))(remove)
    files.command(
        "made",
        epilog=examples(
            "everloop files made helper/monday", "everloop files made helper/monday INVOCATION-ID"
        ),
    )(made)
    app.add_typer(files, name="files")


def list_files(
    session: SessionArgument,
    path: PathArgument = ".",
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List a directory."""
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.output import harmless, print_json, stdout

    entries = list(_files(session, endpoint_url, region, data_dir).list(path))
    if as_json:
        print_json({"path": path, "entries": entries})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for each in entries:
        name = harmless(each["name"]) + ("/" if each["type"] == "directory" else "")
        size = f"{each['size']:,}" if each["type"] == "file" else each["type"]
        table.add_row(Text(size), Text(each["modifiedAt"][:19]), Text(name))
    stdout().print(table)


def get(
    session: SessionArgument,
    path: PathArgument,
    to: Annotated[
        Path | None,
        typer.Argument(metavar="[TO]", help="Where to; `-` is standard output.", allow_dash=True),
    ] = None,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Fetch a file; it appears whole or not at all."""
    import os
    import sys
    import tempfile

    from everloop.cli.output import stderr

    files = _files(session, endpoint_url, region, data_dir)
    if str(to) == "-":
        files.get(path, sys.stdout.buffer)
        return
    name = path.rstrip("/").rpartition("/")[2]
    target = Path(name) if to is None else to / name if to.is_dir() else to
    fd, fresh = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(fd, "wb") as file:
            size = files.get(path, file)
        Path(fresh).chmod(0o666 & ~_umask())
        os.replace(fresh, target)
    except BaseException:
        os.unlink(fresh)
        raise
    stderr().print(f"{size:,} bytes in {target}", style="dim", markup=False)


def put(
    session: SessionArgument,
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="What to send.", exists=True, dir_okay=False)
    ],
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH]", help="Where to, in the session; into it when it ends with `/`."
        ),
    ] = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Send a file; large ones go in parts, and a second try goes on from the first."""
    from everloop.cli.output import print_json, stderr

    target = path or source.name
    if target.endswith("/"):
        target += source.name
    sent = _files(session, endpoint_url, region, data_dir).put(source, target)
    if as_json:
        print_json({"path": target, "file": sent})
    else:
        stderr().print(f"{sent['size']:,} bytes in {target}", style="dim", markup=False)


def remove(
    session: SessionArgument,
    path: PathArgument,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="A directory with all that is in it.")
    ] = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Remove a file, a link, or an empty directory."""
    _files(session, endpoint_url, region, data_dir).remove(path, recursive=recursive)


def made(
    session: SessionArgument,
    invocation_id: Annotated[
        str | None,
        typer.Argument(metavar="[INVOCATION]", help="Which turn; the newest when omitted."),
    ] = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List the files that a turn created, changed or removed."""
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.errors import CommandError
    from everloop.cli.output import harmless, print_json, stdout
    from everloop.cli.session_names import find_session
    from everloop.sessions import Sessions

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    name = find_session(Aws(connection), session)
    where = (name.harness_id, name.session_id)
    of = Sessions.over(connection)
    if invocation_id is None:
        for one in of.invocations(*where):
            invocation_id = one["invocationId"]
        if invocation_id is None:
            raise CommandError("the session has no invocation yet")
    entries = list(of.invocation_files(*where, invocation_id))
    if as_json:
        print_json({"invocationId": invocation_id, "entries": entries})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for each in entries:
        size = f"{each['size']:,}" if "size" in each else ""
        table.add_row(Text(each["change"]), Text(size), Text(harmless(each["path"])))
    stdout().print(table)


def _files(
    session: str, endpoint_url: str | None, region: str | None, data_dir: Path
) -> "SessionFiles":
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.session_files import SessionFiles
    from everloop.cli.session_names import find_session

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    return SessionFiles(connection, find_session(Aws(connection), session))


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask
