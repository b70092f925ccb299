"""`everloop stop`."""

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    JsonOption,
    RegionOption,
    examples,
)
from everloop.cli.session_names import SessionArgument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "stop",
        help="Stop a session: its turn is cancelled, its environment ends with all that runs in "
        "it. Files and the conversation stay; the next call goes on with them.",
        epilog=examples("everloop stop helper/monday"),
    )(stop)


def stop(
    session: SessionArgument,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Stop a session."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.output import print_json, stdout
    from everloop.cli.session_names import find_session, harness_arn

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    name = find_session(aws, session)
    answer = aws.stop_session(harness_arn(aws, name), name.session_id)
    if as_json:
        print_json({"runtimeSessionId": answer["runtimeSessionId"]})
    else:
        stdout().print(f"stopped {answer['runtimeSessionId']}", markup=False)
