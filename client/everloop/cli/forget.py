"""`everloop forget`: delete a session, or everything of an actor, for good."""

from typing import Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    JsonOption,
    RegionOption,
    examples,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "forget",
        help="Delete a session, or every session in which an actor had a part, for good: what was "
        "said, the files, the runs. Prints the receipt.",
        epilog=examples(
            "everloop forget helper --session-id monday",
            "everloop forget --actor-id ann --yes",
        ),
    )(forget)


def forget(
    harness: Annotated[
        str | None,
        typer.Argument(
            metavar="[HARNESS]",
            help="The session's harness, by name, id or ARN.",
            show_default=False,
        ),
    ] = None,
    session_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Delete this session of the harness.")
    ] = None,
    actor_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Delete every session of this actor.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete for good."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.errors import UsageError
    from everloop.cli.output import print_json, stdout
    from everloop.sessions import Sessions

    if (actor_id is None) == (session_id is None) or (session_id is None) != (harness is None):
        raise UsageError("give either a harness and --session-id, or --actor-id")
    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    what = f"session {session_id}" if session_id else f"every session of actor {actor_id}"
    if not yes:
        typer.confirm(f"Delete {what} for good?", abort=True)
    of = Sessions.over(connection)
    if harness is not None and session_id is not None:
        harness_id = names.find_harness(Aws(connection), harness).harness_id
        receipt = of.delete(harness_id, names.session_id(session_id))
    else:
        receipt = of.delete_actor(actor_id or "")
    if as_json:
        print_json(receipt)
        return
    counts = ", ".join(f"{count} {name}" for name, count in sorted(receipt["deleted"].items()))
    shown = f"{receipt['deletionId']} {receipt['status']}: {counts or 'nothing yet'}"
    stdout().print(shown, markup=False)
