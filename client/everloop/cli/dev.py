"""`everloop dev`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DEFAULT_REGION,
    DataDirOption,
    examples,
)

if TYPE_CHECKING:
    from rich.console import Console

    from everloop.dev.notices import Notice
    from everloop.dev.state import DevState

PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        help="Port of the API; 0 takes a free one.",
        show_default="8080, or a free one when that is taken",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "dev",
        help="Run everything on this machine: Temporal, worker, API, sandbox host, demo model.",
        epilog=examples(
            "everloop dev",
            "everloop dev --port 0 --data-dir /tmp/try",
            "everloop dev --detach",
        ),
    )(dev)


def dev(
    port: PortOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    region: Annotated[str, typer.Option(help="Region in ARNs.")] = DEFAULT_REGION,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once it is ready, and leave it running.")
    ] = False,
) -> None:
    """Supervise all processes until Ctrl-C or SIGTERM."""
    from everloop.cli.output import stdout
    from everloop.dev import detached, serve
    from everloop.dev.layout import DataDir

    data = DataDir.at(data_dir)
    console = stdout()
    if detach:
        state = detached.start(data, api_port=port, region=region, outlive=True)
        _print_ready(console, state, data_dir)
        console.print(f"It runs in the background; stop it with: kill {state.pid}", markup=False)
        return
    console.print(f"everloop dev · everything is kept in {data.root}", markup=False)
    serve.run(
        serve.DevOptions(data, port, region),
        env=os.environ,
        report=lambda notice: _print_notice(console, notice),
        on_ready=lambda state: _print_ready(console, state, data_dir),
        on_stop=lambda: console.print("stopping (again to kill) ..."),
    )


def _print_notice(console: "Console", notice: "Notice") -> None:
    from rich.text import Text

    from everloop.cli.output import harmless
    from everloop.dev.notices import Died, Ready, Stopped

    name = f"{notice.name:<13}"
    match notice:
        case Ready(address=address, seconds=seconds, restarts=restarts):
            again = " again" if restarts else ""
            line = Text.assemble(
                ("  ✓ ", "green"), name, f"ready{again} in {seconds:.1f} s", f"  {address or ''}"
            )
        case Died(how=how, last_line=last, retry_s=retry_s):
            said = f'; its last line: "{harmless(last)}"' if last else ""
            line = Text.assemble(
                ("  ✗ ", "red"), name, f"{how}{said}; starting it again in {retry_s:g} s"
            )
        case Stopped(killed=killed):
            how = "killed: it did not stop in time" if killed else "stopped"
            line = Text.assemble(("  · ", "dim"), name, how)
    console.print(line)
    sys.stdout.flush()


def _print_ready(console: "Console", state: "DevState", data_dir: Path) -> None:
    from everloop.dev import ports

    where = f" --data-dir {data_dir}" if data_dir != DEFAULT_DATA_DIR else ""
    lines = (
        f"ready · API {state.addresses[ports.API]} · "
        f"Temporal UI {state.addresses[ports.TEMPORAL_UI]}",
        "the API accepts any signature, from this machine only",
        f"what waits for you: {state.addresses[ports.API]}/everloop/v1/decisions",
        "",
        "Try, in another terminal:",
        f"  everloop create --name helper --model demo/scripted{where}",
        f"  everloop invoke helper 'Run the shell command `uname -a`.'{where}",
        f'  eval "$(everloop env{where})"   # then boto3 and the AWS CLI speak to it',
    )
    console.print("\n".join(lines), markup=False)
    sys.stdout.flush()
