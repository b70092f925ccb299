"""All commands, put together."""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from everloop.cli import (
    apply,
    approvals,
    attach,
    cancel,
    create,
    decisions,
    dev,
    endpoint,
    env,
    execute,
    files,
    forget,
    fork,
    harnesses,
    invoke,
    notices,
    operator,
    schedule,
    sessions,
    shell,
    snapshot,
    status,
    stop,
    transcript,
    usage,
    versions,
)
from everloop.cli.demo import command as demo
from everloop.cli.errors import reported


class EverloopGroup(TyperGroup):
    """Shows our errors as one line, whichever command they come from."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with reported():
            return super().invoke(ctx)


app = typer.Typer(
    name="everloop",
    cls=EverloopGroup,
    epilog="Start here: `everloop demo`, or `everloop dev` in one terminal and, in another, "
    "`everloop create --name helper --model demo/scripted` and `everloop invoke helper 'Hello'`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"everloop {version('everloop')}")
        raise typer.Exit


@app.callback()
def everloop(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Durable agents behind the Amazon Bedrock AgentCore harness API, on your own machines."""


for _module in (
    *(create, harnesses, versions, endpoint, apply),
    *(invoke, attach, cancel, sessions, transcript, fork, forget),
    *(approvals, decisions, notices, schedule),
    *(execute, shell, stop, files, snapshot),
    *(usage, dev, status, env, operator, demo),
):
    _module.register(app)
