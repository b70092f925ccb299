"""`everloop demo`: the command, and the processes it needs."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.options import DEFAULT_DATA_DIR, DEFAULT_REGION, DataDirOption, examples

if TYPE_CHECKING:
    from rich.console import Console

    from everloop.dev.layout import DataDir
    from everloop.dev.state import DevState


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "demo",
        help="Show one durable agent run from end to end, and kill the worker in the middle.",
        epilog=examples("everloop demo", "everloop demo --keep"),
    )(demo)


def demo(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running at the end.")
    ] = False,
) -> None:
    """Run the demonstration; exit code 0 only when every step really happened."""
    from everloop.cli.demo.stage import Stage
    from everloop.cli.demo.story import tell
    from everloop.cli.output import stdout
    from everloop.dev.layout import DataDir

    data = DataDir.at(data_dir)
    console = stdout()
    with _everything_running(console, data, keep=keep) as (state, ours):
        stage = Stage(console, data, state)
        tell(stage)
        _where_next(console, state, data_dir_given=str(data_dir), stays=keep or not ours)


@contextmanager
def _everything_running(
    console: "Console", data: "DataDir", *, keep: bool
) -> Generator[tuple["DevState", bool]]:
    """A ready `everloop dev`: the running one, or one of ours that is stopped at the end."""
    from everloop.dev import detached
    from everloop.dev.state import Phase, running

    state = running(data)
    if state is not None and state.phase is Phase.READY:
        console.print(f"Using the everloop dev that runs on {data.root}.", markup=False)
        yield state, False
        return
    console.print(
        "Starting Temporal, the worker, the API, the sandbox host and the demo model ...",
        markup=False,
    )
    state = detached.start(data, api_port=None, region=DEFAULT_REGION, outlive=keep)
    for process in state.processes:
        console.print(f"  ✓ {process.name:<13} pid {process.pid}", markup=False)
    try:
        yield state, True
    finally:
        if not keep:
            console.print("Stopping what was started ...", style="dim")
            detached.stop(data)


def _where_next(console: "Console", state: "DevState", *, data_dir_given: str, stays: bool) -> None:
    from everloop.dev import ports

    where = "" if data_dir_given == str(DEFAULT_DATA_DIR) else f" --data-dir {data_dir_given}"
    lines = ["", "Where to look next"]
    if stays:
        lines.append(f"  Every step in Temporal's UI:  {state.addresses[ports.TEMPORAL_UI]}")
    else:
        lines.append(f"  Start everything again:       everloop dev{where}")
        lines.append("    and see every step of this run in the Temporal UI that it names")
    lines += [
        f"  Talk to the agent:            everloop invoke everloop_demo 'Count to 20.'{where}",
        f'  From boto3 or the AWS CLI:    eval "$(everloop env{where})"',
        f"  Logs:                         {state.processes[0].log.rsplit('/', 1)[0]}"
        if state.processes
        else "",
    ]
    if stays and state.pid is not None:
        lines.append(f"  Stop everything:              kill {state.pid}")
    console.print("\n".join(lines), markup=False)
