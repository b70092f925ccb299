"""`everloop status`."""

from pathlib import Path

import typer

from everloop.cli.errors import EXIT_NOT_RUNNING
from everloop.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, examples


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "status",
        help="Show the processes of `everloop dev`. Exit code 3 when it does not run.",
        epilog=examples("everloop status", "everloop status --json | jq -r .addresses.api"),
    )(status)


def status(data_dir: DataDirOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show what runs, with pids, states, restarts and addresses."""
    from everloop.cli.output import print_json, stderr, stdout
    from everloop.dev.layout import DataDir
    from everloop.dev.state import DevState, Phase, running

    data = DataDir.at(data_dir)
    state = running(data)
    isolation = _isolation(data.isolation) if state is not None else {}
    if as_json:
        shown = state or DevState(phase=Phase.STOPPED)
        print_json(
            {
                "running": state is not None,
                **shown.model_dump(mode="json"),
                "isolation": isolation,
            }
        )
    elif state is None:
        stderr().print(f"everloop dev does not run on {data.root}", markup=False)
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("process", "state", "pid", "restarts", "address"):
            table.add_column(title, no_wrap=True)
        table.add_row("everloop dev", state.phase, str(state.pid), "", "")
        for one in state.processes:
            pid = str(one.pid) if one.pid else "-"
            table.add_row(one.name, one.phase, pid, str(one.restarts), one.address or "")
        console = stdout()
        console.print(table)
        console.print(f"Temporal UI  {state.addresses.get('temporal_ui', '-')}", markup=False)
        for name, found in isolation.items():
            console.print(f"Isolation    {name}: {found}", markup=False)
        console.print(f"Logs         {data.root / 'logs'}", markup=False)
    if state is None:
        raise typer.Exit(EXIT_NOT_RUNNING)


def _isolation(path: Path) -> dict[str, str]:
    """What the sandbox host wrote; empty before it did."""
    import json

    try:
        return {str(name): str(text) for name, text in json.loads(path.read_text()).items()}
    except (OSError, ValueError):
        return {}
