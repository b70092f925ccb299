"""`everloop get`, `everloop list` and `everloop delete`."""

from datetime import datetime
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
from everloop.cli.settle import WaitOption

if TYPE_CHECKING:
    from everloop.cli.aws import Json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "get",
        help="Show a harness.",
        epilog=examples("everloop get helper", "everloop get helper --json"),
    )(get)
    app.command(
        "list",
        help="List the harnesses.",
        epilog=examples("everloop list", "everloop list --json"),
    )(list_all)
    app.command(
        "delete",
        help="Delete a harness, and the environments and files of its sessions; transcripts stay.",
        epilog=examples("everloop delete helper"),
    )(delete)


def get(
    harness: HarnessArgument,
    version: Annotated[
        str | None, typer.Option(help="Its newest version when left out.", metavar="N")
    ] = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show one harness."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import harmless, print_json, stdout, to_json

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    found = aws.get_harness(find_harness(aws, harness).harness_id, version)
    if as_json:
        print_json({"harness": found})
        return
    width = max(len(name) for name in found)
    console = stdout()
    for name, value in found.items():
        if isinstance(value, datetime):
            value = value.isoformat(timespec="seconds")
        shown = value if isinstance(value, str) else to_json(value)
        console.print(f"{name:<{width}}  {harmless(shown)}", markup=False)


def list_all(
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List every harness."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.output import print_json, stderr, stdout

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    found = aws.list_harnesses()
    if as_json:
        print_json({"harnesses": found})
    elif found:
        stdout().print(_table(found))
    else:
        stderr().print("no harnesses yet; make one with: everloop create --name NAME")


def delete(
    harness: HarnessArgument,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete one harness."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json, stdout
    from everloop.cli.settle import settled_harness

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    answer = aws.delete_harness(find_harness(aws, harness).harness_id)
    gone = settled_harness(aws, answer, wait=wait)
    if as_json:
        print_json({"harness": gone})
    else:
        verb = "deleted" if wait else "deleting"
        stdout().print(f"{verb} {gone['harnessName']} ({gone['harnessId']})", markup=False)


def _table(found: "list[Json]") -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "id", "status", "version", "created"):
        table.add_column(title, no_wrap=True)
    for one in found:
        created: datetime = one["createdAt"]
        cells = (
            one["harnessName"],
            one["harnessId"],
            one["status"],
            one.get("harnessVersion", ""),
            created.astimezone().strftime("%Y-%m-%d %H:%M"),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table
