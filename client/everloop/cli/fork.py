"""`everloop fork`."""

from typing import Annotated

import typer

from everloop.cli.definition import (
    ApiBaseOption,
    ApiKeyOption,
    Definition,
    ModelOption,
    ProviderOption,
)
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
        "fork",
        help="Begin a session with the messages of another, which stays as it is. Files of the old "
        "session's environment are taken along when --files says which.",
        epilog=examples(
            "everloop fork helper --session-id monday",
            "everloop fork helper --session-id monday --from-seq 4 --new-session-id monday-2",
            "everloop fork helper --session-id monday --files current",
            "everloop fork helper --session-id monday --qualifier canary",
            "everloop fork helper --session-id monday --model demo/scripted",
        ),
    )(fork)


def fork(
    harness: HarnessArgument,
    session_id: Annotated[str, typer.Option(metavar="ID", help="The old session.")],
    from_seq: Annotated[
        int | None,
        typer.Option(metavar="SEQ", min=1, help="The newest message to take along; else the last."),
    ] = None,
    new_session_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The new session's name; else one is made.")
    ] = None,
    to_harness: Annotated[
        str | None,
        typer.Option(metavar="HARNESS", help="The new session's harness; else the same."),
    ] = None,
    qualifier: Annotated[
        str | None,
        typer.Option(metavar="ENDPOINT", help="Endpoint that the new session's calls use."),
    ] = None,
    files: Annotated[
        str,
        typer.Option(
            metavar="none|current|SNAPSHOT",
            help="Files that the new session begins with: none, those of now, or a snapshot's.",
        ),
    ] = "none",
    model: ModelOption = None,
    model_provider: ProviderOption = None,
    api_key_arn: ApiKeyOption = None,
    api_base: ApiBaseOption = None,
    client_token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The same token gives the same fork.")
    ] = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Fork a session."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.output import print_json, stdout
    from everloop.sessions import Sessions

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    aws = Aws(connection)
    definition = Definition(
        model=model, provider=model_provider, api_key_arn=api_key_arn, api_base=api_base
    )
    wanted = {
        "fromSeq": from_seq,
        "runtimeSessionId": names.session_id(new_session_id) if new_session_id else None,
        "harnessId": names.find_harness(aws, to_harness).harness_id if to_harness else None,
        "qualifier": qualifier,
        "clientToken": client_token,
        "files": files if files in ("none", "current") else {"snapshotId": files},
        **definition.members(connection.region),
    }
    made = Sessions.over(connection).fork(
        names.find_harness(aws, harness).harness_id,
        names.session_id(session_id),
        **{name: value for name, value in wanted.items() if value is not None},
    )
    if as_json:
        print_json(made)
    else:
        taken = made["forkedFrom"]["seq"]
        stdout().print(f"{made['runtimeSessionId']} ({taken} messages)", markup=False)
