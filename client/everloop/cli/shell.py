"""`everloop shell`."""

from typing import Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    RegionOption,
    examples,
)
from everloop.cli.session_names import SessionArgument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "shell",
        help="An interactive shell in a session's environment. Ctrl-] leaves it running for five "
        "minutes; a connection that breaks is made again. Ends with the shell's exit code.",
        epilog=examples(
            "everloop shell helper/monday",
            "everloop shell helper/monday --shell-id 4f1c     # go on with one that was left",
        ),
    )(shell)


def shell(
    session: SessionArgument,
    shell_id: Annotated[
        str | None, typer.Option(metavar="ID", help="A shell that was left; none is started.")
    ] = None,
    qualifier: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Named endpoint of the harness.")
    ] = None,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show a shell."""
    import asyncio

    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.session_names import find_session
    from everloop.cli.terminal import Shown

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    name = find_session(Aws(connection), session)
    shown = Shown(connection, name, shell_id=shell_id, qualifier=qualifier, given=session)
    raise typer.Exit(asyncio.run(shown.run()))
