"""`everloop cancel`."""

from typing import Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    HarnessArgument,
    JsonOption,
    RegionOption,
    examples,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "cancel",
        help="End an invocation now: its model call and its commands are stopped, one that is "
        "queued never begins. The session goes on with the next call.",
        epilog=examples(
            "everloop cancel helper --session-id monday",
            "everloop cancel helper --session-id monday --invocation-id cli-4f1c",
        ),
    )(cancel)


def cancel(
    harness: HarnessArgument,
    session_id: Annotated[str, typer.Option(metavar="ID", help="Its session.")],
    invocation_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Which invocation; else the one that runs.")
    ] = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Cancel an invocation."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.errors import CommandError
    from everloop.cli.output import print_json, stdout
    from everloop.sessions import Sessions

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    harness_id = names.find_harness(Aws(connection), harness).harness_id
    sessions, session = Sessions.over(connection), names.session_id(session_id)
    key = names.invocation_id(invocation_id) if invocation_id else None
    key = key or sessions.get(harness_id, session)["runningInvocationId"]
    if key is None:
        raise CommandError(f"nothing runs in session {session}")
    ended = sessions.cancel(harness_id, session, key)
    if as_json:
        print_json(ended)
    else:
        stdout().print(f"{ended['invocationId']} {ended['stopReason'] or ended['state']}")
