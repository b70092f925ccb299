"""`everloop env`."""

import shlex
from enum import StrEnum
from typing import Annotated

import typer

from everloop.cli.options import DEFAULT_DATA_DIR, DataDirOption, examples


class Shell(StrEnum):
    """The syntax to write assignments in."""

    SH = "sh"
    FISH = "fish"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "env",
        help="Print the variables that make boto3 and the AWS CLI speak to `everloop dev`.",
        epilog=examples(
            'eval "$(everloop env)"',
            "everloop env --shell fish | source",
        ),
    )(env)


def env(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    shell: Annotated[Shell, typer.Option(help="Syntax of the assignments.")] = Shell.SH,
) -> None:
    """Print assignments for a shell to evaluate."""
    from everloop.cli.errors import CommandError
    from everloop.dev import ports
    from everloop.dev.credentials import (
        ACCESS_KEY_ID,
        CREDENTIAL_VARIABLES,
        SECRET_ACCESS_KEY,
    )
    from everloop.dev.layout import DataDir
    from everloop.dev.state import running

    data = DataDir.at(data_dir)
    state = running(data)
    if state is None:
        raise CommandError(f"everloop dev does not run on {data.root}; start it first")
    api = state.addresses[ports.API]
    values = {
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": api,
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": api,
        "AWS_REGION": state.region,
        "AWS_DEFAULT_REGION": state.region,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    }
    for name in CREDENTIAL_VARIABLES:
        if name not in values:
            print(f"set -e {name};" if shell is Shell.FISH else f"unset {name}")
    for name, value in values.items():
        quoted = shlex.quote(value)
        print(f"set -gx {name} {quoted};" if shell is Shell.FISH else f"export {name}={quoted}")
