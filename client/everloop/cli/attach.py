"""`everloop attach`."""

from typing import Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    HarnessArgument,
    RegionOption,
    examples,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "attach",
        help="Watch a session: what happened in it and, until Ctrl-C, what happens. Any number may "
        "watch at the same time; watching changes nothing.",
        epilog=examples(
            "everloop attach helper --session-id monday",
            "everloop attach helper --session-id monday --invocation-id cli-4f1c",
            "everloop attach helper --session-id monday --after 120 --json",
            "everloop attach helper --session-id monday --no-follow",
        ),
    )(attach)


def attach(
    harness: HarnessArgument,
    session_id: Annotated[str, typer.Option(metavar="ID", help="The session.")],
    invocation_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this invocation, to its end.")
    ] = None,
    after: Annotated[
        int,
        typer.Option(
            metavar="CURSOR", min=0, help="Begin behind this cursor of the session's log."
        ),
    ] = 0,
    follow: Annotated[
        bool, typer.Option(help="Wait for what is still to come, or show what is there.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the events, one JSON object a line.")
    ] = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Watch a session."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.output import stderr, stdout, to_json
    from everloop.cli.retold import Retold
    from everloop.cli.view import View
    from everloop.sessions import Sessions

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    harness_id = names.find_harness(Aws(connection), harness).harness_id
    events = Sessions.over(connection).events(
        harness_id,
        names.session_id(session_id),
        after=after,
        follow=follow,
        invocation_id=names.invocation_id(invocation_id) if invocation_id else None,
    )
    view, retold = View(stdout()), Retold()
    for event in events:
        if as_json:
            print(to_json({"event": event.kind, **event.data}), flush=True)
            continue
        for happening in retold.feed(event):
            view.show(happening)
        if event.kind == "opened":
            stderr().print(f"invocation {event.data['invocationId']}", style="dim", markup=False)
        if event.kind == "end" and event.data.get("error") is None:
            view.finish(retold.stop_reason, retold.usage, retold.model_calls)
            retold = Retold()
