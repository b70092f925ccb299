"""`everloop approvals test`: what a harness's approval rules make of a call."""

import json
from typing import Annotated

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


def register(app: typer.Typer) -> None:
    """Add the commands."""
    approvals = typer.Typer(help="Rules that make tool calls wait.", no_args_is_help=True)
    approvals.command(
        "test",
        help="Show which rule would decide about a call, and why. Nothing is run.",
        epilog=examples(
            'everloop approvals test helper shell --arguments \'{"command": "rm -r build"}\'',
            "everloop approvals test helper @bank/pay --rules draft.json --json",
        ),
    )(test)
    app.add_typer(approvals, name="approvals")


def test(
    harness: HarnessArgument,
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="A tool's name, or @namespace/name.")],
    arguments: Annotated[
        str, typer.Option(help="The call's arguments: JSON, or a file.", metavar="JSON|FILE")
    ] = "{}",
    rules: Annotated[
        str | None,
        typer.Option(
            help="Rules to try instead of the harness's own, as `extensions.approvals` has them.",
            metavar="JSON|FILE",
        ),
    ] = None,
    destructive: Annotated[
        bool, typer.Option("--destructive", help="As if the tool declared itself destructive.")
    ] = False,
    version: Annotated[
        str | None, typer.Option(help="The rules of this version.", metavar="N")
    ] = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Try a call against the rules."""
    from everloop.cli import own_api
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.decisions import read_edit
    from everloop.cli.names import find_harness
    from everloop.cli.output import harmless, print_json, stdout

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    body: own_api.Json = {"tool": tool, "arguments": read_edit(arguments)}
    if rules is not None:
        body["approvals"] = read_edit(rules)
    if destructive:
        body["destructive"] = True
    if version is not None:
        body["harnessVersion"] = version
    harness_id = find_harness(Aws(connection), harness).harness_id
    path = ("harnesses", harness_id, "approvals", "dry-run")
    found = own_api.send(connection, "POST", *path, body=body)
    if as_json:
        print_json(found)
        return
    lines = [f"{found['action']} {found['tool']}: {found['why']}"]
    if not found["offered"]:
        lines.append("  this harness does not offer its model such a tool")
    if "terms" in found:
        lines.append(f"  {json.dumps(found['terms'], ensure_ascii=False)}")
    for each in found["trace"]:
        mark = "->" if each["selects"] else "  "
        name = f" ({each['name']})" if each.get("name") else ""
        lines.append(f"  {mark} rule {each['index']}{name}: {each['why']}")
    stdout().print(harmless("\n".join(lines)), markup=False)
