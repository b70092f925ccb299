"""`everloop update`, `everloop versions` and `everloop rollback`."""

from datetime import datetime
from typing import Annotated

import typer

from everloop.cli.definition import (
    AllowedToolOption,
    ApiBaseOption,
    ApiKeyOption,
    Definition,
    InlineFunctionOption,
    MaxIterationsOption,
    MaxTokensOption,
    ModelOption,
    ProviderOption,
    SystemPromptOption,
    TimeoutOption,
    ToolFileOption,
)
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


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "update",
        help="Change a harness: a new version with what you name changed and the rest kept.",
        epilog=examples(
            "everloop update helper --system-prompt 'Be brief.'",
            "everloop update helper --model-provider open_ai --model gpt-5.4",
        ),
    )(update)
    app.command(
        "versions",
        help="List a harness's versions, newest first.",
        epilog=examples("everloop versions helper", "everloop get helper --version 2"),
    )(versions)
    app.command(
        "rollback",
        help="Go back to an older version. With --name the endpoint of that name is pointed at "
        "it; without, a new version is made like the old one, because DEFAULT follows the newest.",
        epilog=examples(
            "everloop rollback helper --name prod", "everloop rollback helper --version 3"
        ),
    )(rollback)


def update(
    harness: HarnessArgument,
    model: ModelOption = None,
    model_provider: ProviderOption = None,
    api_key_arn: ApiKeyOption = None,
    api_base: ApiBaseOption = None,
    system_prompt: SystemPromptOption = None,
    tool_file: ToolFileOption = None,
    inline_function: InlineFunctionOption = None,
    allowed_tool: AllowedToolOption = None,
    max_iterations: MaxIterationsOption = None,
    max_tokens: MaxTokensOption = None,
    timeout_seconds: TimeoutOption = None,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change what the options name; tools given replace all tools."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.errors import UsageError
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json, stdout
    from everloop.cli.settle import settled_harness

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    members = Definition(
        model=model,
        provider=model_provider,
        api_key_arn=api_key_arn,
        api_base=api_base,
        system_prompt=system_prompt,
        tool_files=tuple(tool_file or ()),
        inline_functions=tuple(inline_function or ()),
        allowed_tools=tuple(allowed_tool or ()),
        max_iterations=max_iterations,
        max_tokens=max_tokens,
        timeout_seconds=timeout_seconds,
    ).members(connection.region)
    if not members:
        raise UsageError("nothing to change: name at least one option, see everloop update --help")
    aws = Aws(connection)
    harness_id = find_harness(aws, harness).harness_id
    answer = aws.control("update_harness", harnessId=harness_id, **members)["harness"]
    updated = settled_harness(aws, answer, wait=wait)
    if as_json:
        print_json({"harness": updated})
    else:
        stdout().print(
            f"updated {updated['harnessName']} to version {updated['harnessVersion']} "
            f"({updated['status']})",
            markup=False,
        )


def versions(
    harness: HarnessArgument,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List versions, and which endpoints point at each."""
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json, stdout

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    harness_id = find_harness(aws, harness).harness_id
    found = aws.control_pages("list_harness_versions", "harnessVersions", harnessId=harness_id)
    if as_json:
        print_json({"harnessVersions": found})
        return
    endpoints = aws.control_pages("list_harness_endpoints", "endpoints", harnessId=harness_id)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("version", "status", "created", "endpoints"):
        table.add_column(title, no_wrap=True)
    for one in found:
        created: datetime = one["createdAt"]
        here = [
            e["endpointName"] for e in endpoints if e.get("liveVersion") == one["harnessVersion"]
        ]
        cells = (
            one["harnessVersion"],
            one["status"],
            created.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            ", ".join(here),
        )
        table.add_row(*(Text(cell) for cell in cells))
    stdout().print(table)


def rollback(
    harness: HarnessArgument,
    version: Annotated[
        str | None,
        typer.Option(help="The version before the one in use when left out.", metavar="N"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The endpoint to point at it.", metavar="ENDPOINT")
    ] = None,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Point an endpoint at an older version, or make a new version like it."""
    from everloop.cli.aws import Aws
    from everloop.cli.change import restore_request
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json, stdout
    from everloop.cli.own_api import get
    from everloop.cli.settle import settled_endpoint, settled_harness

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    harness_id = find_harness(aws, harness).harness_id
    if name is not None:
        which = {"harnessId": harness_id, "endpointName": name}
        used = aws.control("get_harness_endpoint", **which)["endpoint"]["liveVersion"]
        wanted = version or _before(used)
        answer = aws.control("update_harness_endpoint", **which, targetVersion=wanted)
        moved = settled_endpoint(aws, answer["endpoint"], wait=wait)
        said = f"{name} went from version {used} to {wanted}"
        shown = {"endpoint": moved}
    else:
        newest = aws.get_harness(harness_id)
        wanted = version or _before(newest["harnessVersion"])
        request = restore_request(newest, aws.get_harness(harness_id, wanted))
        path = ("harnesses", harness_id, "extensions")
        were = get(aws.connection, *path, query={"harnessVersion": wanted})["extensions"]
        answer = aws.update_harness(request, extensions=were)
        made = settled_harness(aws, answer, wait=wait)
        said = f"version {made['harnessVersion']} of {made['harnessName']} is like {wanted}"
        shown = {"harness": made}
    if as_json:
        print_json(shown)
    else:
        stdout().print(said, markup=False)


def _before(version: str) -> str:
    from everloop.cli.errors import UsageError

    if version == "1":
        raise UsageError("version 1 is in use; there is no older one")
    return str(int(version) - 1)
