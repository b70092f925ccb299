"""`everloop create`."""

import os
import sys
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
    JsonOption,
    RegionOption,
    examples,
)
from everloop.cli.settle import WaitOption

#: The service model asks for a role; nothing assumes it on one's own machine.
DEFAULT_ROLE = "arn:aws:iam::000000000000:role/everloop"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "create",
        help="Create a harness: the definition of an agent.",
        epilog=examples(
            "everloop create --name helper --model demo/scripted",
            "everloop create --name writer --model-provider open_ai --model gpt-5.4",
            "everloop create --name careful --inline-function approval.json",
        ),
    )(create)


def create(
    name: Annotated[str, typer.Option(help="Letters, digits and '_', at most 40.")],
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
    execution_role_arn: Annotated[
        str, typer.Option(metavar="ARN", help="Role of the agent.")
    ] = DEFAULT_ROLE,
    wait: WaitOption = True,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create a harness and print its name, id and ARN."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.output import print_json, stdout
    from everloop.cli.settle import settled_harness

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    if model is None and model_provider is None:
        model = _offer_demo_model()
    definition = Definition(
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
    )
    aws = Aws(connection)
    request = {"harnessName": name, "executionRoleArn": execution_role_arn}
    answer = aws.create_harness({**request, **definition.members(connection.region)})
    harness = settled_harness(aws, answer, wait=wait)
    if as_json:
        print_json({"harness": harness})
        return
    console = stdout()
    console.print(f"created {harness['harnessName']} ({harness['status']})", markup=False)
    console.print(f"  id   {harness['harnessId']}\n  arn  {harness['arn']}", markup=False)


def _offer_demo_model() -> str | None:
    """The demo model, if the user wants it where no other could be called; None for the default."""
    from everloop.cli.aws import has_credentials
    from everloop.cli.errors import UsageError
    from everloop.cli.model import DEMO_MODEL, any_model_reachable

    if any_model_reachable(os.environ, aws_credentials=has_credentials()):
        return None
    why = (
        "No AWS credentials and no provider's key were found, so the default model, on Bedrock, "
        "cannot be called."
    )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            f"{why} Add --model {DEMO_MODEL} for the scripted demo model, "
            "or --model-provider bedrock to create the harness all the same."
        )
    typer.echo(why)
    return DEMO_MODEL if typer.confirm(f"Use the demo model {DEMO_MODEL}?", default=True) else None
