"""`everloop apply`, `everloop diff`, `everloop deploy` and `everloop schema`."""

import sys
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
from everloop.cli.settle import WaitOption

if TYPE_CHECKING:
    from everloop.cli.declaration import Plan

#: `everloop diff`: something would change, as with diff(1).
EXIT_DIFFERS = 1
DEFAULT_FILE = Path("harness.yaml")

FileOption = Annotated[
    Path,
    typer.Option("-f", "--file", metavar="FILE", help="The harness's declaration, YAML or JSON."),
]
PruneOption = Annotated[
    bool, typer.Option("--prune", help="Delete the endpoints that the file does not have.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "apply",
        help="Create the harness that a file declares, or update it to match; shows a diff first. "
        "A member that the file does not name gets its default.",
        epilog=examples("everloop apply -f harness.yaml", "everloop apply -f harness.yaml --yes"),
    )(apply)
    app.command(
        "diff",
        help="Show what apply would change. Exit code 0: nothing; 1: something.",
        epilog=examples("everloop diff -f harness.yaml"),
    )(diff)
    app.command(
        "deploy",
        help="Apply the harness.yaml of this directory without asking.",
        epilog=examples("everloop deploy", "everloop deploy -f agents/helper.yaml"),
    )(deploy)
    app.command(
        "schema",
        help="Print the JSON schema of the file, for editors.",
        epilog=examples("everloop schema > harness.schema.json"),
    )(schema)


def apply(
    file: FileOption = DEFAULT_FILE,
    prune: PruneOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Make the harness match the file."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.declaration import carry_out, plan, read
    from everloop.cli.errors import UsageError
    from everloop.cli.output import print_json, stderr, stdout

    declared = read(file)
    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    made = plan(aws, declared, prune=prune)
    _print_diff(made, to_stderr=as_json)
    if made.diff and not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to confirm the change; add --yes")
        if not typer.confirm("Apply?", default=False):
            stderr().print("nothing was changed")
            raise typer.Exit(EXIT_DIFFERS)
    harness = carry_out(aws, made, wait=wait) if made.diff else made.current
    assert harness is not None
    if as_json:
        print_json({"harness": harness})
        return
    verb = "created" if made.current is None else "updated" if made.diff else "unchanged:"
    stdout().print(
        f"{verb} {made.name} version {harness['harnessVersion']} ({harness['status']})\n"
        f"  id   {harness['harnessId']}\n  arn  {harness['arn']}",
        markup=False,
    )


def diff(
    file: FileOption = DEFAULT_FILE,
    prune: PruneOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show what apply would change."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.declaration import plan, read

    declared = read(file)
    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    made = plan(aws, declared, prune=prune)
    _print_diff(made)
    if made.diff:
        raise typer.Exit(EXIT_DIFFERS)


def deploy(
    file: FileOption = DEFAULT_FILE,
    prune: PruneOption = False,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Apply without asking."""
    apply(file, prune, True, wait, as_json, endpoint_url, region, data_dir)


def schema() -> None:
    """Print the schema."""
    from everloop.cli.output import print_json
    from everloop.cli.schema import harness_schema

    print_json(harness_schema())


def _print_diff(made: "Plan", *, to_stderr: bool = False) -> None:
    from everloop.cli.output import harmless, stderr, stdout

    console = stderr() if to_stderr else stdout()
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in made.diff:
        console.print(harmless(line), style=styles.get(line[:1], ""), markup=False)
    if made.endpoints.left:
        names = harmless(", ".join(made.endpoints.left))
        stderr().print(f"not in the file, and deleted by --prune only: {names}", markup=False)
