"""All commands, put together."""

from typing import Any

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
    help="Durable agents behind the Amazon Bedrock AgentCore harness API, on your own machines.",
    epilog="Start here: `everloop demo`, or `everloop dev` in one terminal and, in another, "
    "`everloop create --name helper --model demo/scripted` and `everloop invoke helper 'Hello'`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _module in (
    *(create, harnesses, versions, endpoint, apply),
    *(invoke, attach, cancel, sessions, transcript, fork, forget),
    *(approvals, decisions, notices, schedule),
    *(execute, shell, stop, files, snapshot),
    *(usage, dev, status, env, operator, demo),
):
    _module.register(app)
