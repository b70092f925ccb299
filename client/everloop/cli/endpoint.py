"""`everloop endpoint create|list|get|update|delete`."""

from typing import TYPE_CHECKING, Annotated, Any

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

NameArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's name.")]
VersionOption = Annotated[
    str | None, typer.Option("--version", metavar="N", help="The version it points at.")
]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Endpoints of a harness: names that pin a version. DEFAULT follows the newest.",
    )
    group.command(
        "create",
        help="Create an endpoint, at the newest version unless --version says otherwise.",
        epilog=examples("everloop endpoint create helper prod --version 3"),
    )(create)
    group.command(
        "list", help="List the endpoints.", epilog=examples("everloop endpoint list helper")
    )(list_all)
    group.command(
        "get", help="Show an endpoint.", epilog=examples("everloop endpoint get helper prod")
    )(get)
    group.command(
        "update",
        help="Point an endpoint at another version, newer or older.",
        epilog=examples("everloop endpoint update helper prod --version 4"),
    )(update)
    group.command(
        "delete",
        help="Delete an endpoint; its version stays.",
        epilog=examples("everloop endpoint delete helper prod"),
    )(delete)
    app.add_typer(group, name="endpoint")


def create(
    harness: HarnessArgument,
    name: NameArgument,
    version: VersionOption = None,
    description: DescriptionOption = None,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create an endpoint."""
    members = _members(version, description)
    _one("create", harness, name, members, wait, as_json, endpoint_url, region, data_dir)


def list_all(
    harness: HarnessArgument,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List every endpoint."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    harness_id = find_harness(aws, harness).harness_id
    found = aws.control_pages("list_harness_endpoints", "endpoints", harnessId=harness_id)
    if as_json:
        print_json({"endpoints": found})
    else:
        _show(found)


def get(
    harness: HarnessArgument,
    name: NameArgument,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show an endpoint."""
    _one("get", harness, name, {}, False, as_json, endpoint_url, region, data_dir)


def update(
    harness: HarnessArgument,
    name: NameArgument,
    version: VersionOption = None,
    description: DescriptionOption = None,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change an endpoint."""
    from everloop.cli.errors import UsageError

    members = _members(version, description)
    if not members:
        raise UsageError("nothing to change: give --version or --description")
    _one("update", harness, name, members, wait, as_json, endpoint_url, region, data_dir)


def delete(
    harness: HarnessArgument,
    name: NameArgument,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete an endpoint."""
    _one("delete", harness, name, {}, wait, as_json, endpoint_url, region, data_dir)


def _members(version: str | None, description: str | None) -> "Json":
    members = {"targetVersion": version, "description": description}
    return {name: value for name, value in members.items() if value is not None}


def _one(
    verb: str, harness: str, name: str, members: "Json", wait: bool, as_json: bool, *where: Any
) -> None:
    """Call `<verb>_harness_endpoint` and show the endpoint of its answer."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json
    from everloop.cli.settle import settled_endpoint

    endpoint_url, region, data_dir = where
    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    which = {"harnessId": find_harness(aws, harness).harness_id, "endpointName": name}
    answer = aws.control(f"{verb}_harness_endpoint", **which, **members)["endpoint"]
    answer = settled_endpoint(aws, answer, wait=wait)
    if as_json:
        print_json({"endpoint": answer})
    else:
        _show([answer])


def _show(endpoints: "list[Json]") -> None:
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.output import harmless, stdout

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("endpoint", "status", "version", "description"):
        table.add_column(title, no_wrap=True)
    for one in endpoints:
        live, target = one.get("liveVersion", "-"), one.get("targetVersion", "-")
        version = live if live == target else f"{live} → {target}"
        cells = (one["endpointName"], one["status"], version, one.get("description", ""))
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    stdout().print(table)
    for one in endpoints:
        if one.get("failureReason"):
            reason = harmless(f"{one['endpointName']}: {one['failureReason']}")
            stdout().print(reason, markup=False)
