"""`everloop exec`."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    RegionOption,
    examples,
)
from everloop.cli.session_names import SessionArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everloop.cli.aws import Aws, Json

#: As timeout(1) has it.
EXIT_TIMED_OUT = 124
#: The platform ended the command, as when its session was stopped.
EXIT_PLATFORM = 125
#: Seconds in which a broken stream is joined again.
JOIN_S = 60.0
JOIN_AGAIN_S = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "exec",
        help="Run a command in a session's environment, beside its turns and without a model. "
        "Ends with the command's own exit code; 124 when it ran out of time, 125 when it was "
        "stopped.",
        epilog=examples(
            "everloop exec helper/monday -- ls -la",
            "everloop exec helper/monday -- 'cat *.csv | wc -l'",
            "everloop exec helper/monday --timeout 3600 -- make test",
        ),
    )(execute)


def execute(
    session: SessionArgument,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND...",
            help="One word is given to bash as it stands; several are quoted first.",
        ),
    ],
    timeout: Annotated[
        int, typer.Option(min=1, max=3600, metavar="SECONDS", help="Then it is ended.")
    ] = 300,
    qualifier: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Named endpoint of the harness.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the raw events, one JSON object a line.")
    ] = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Run a command."""
    import shlex

    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.session_names import find_session, harness_arn

    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    name = find_session(aws, session)
    request: Json = {
        "agentRuntimeArn": harness_arn(aws, name),
        "runtimeSessionId": name.session_id,
        "body": {
            "command": command[0] if len(command) == 1 else shlex.join(command),
            "timeout": timeout,
        },
    }
    if qualifier is not None:
        request["qualifier"] = qualifier
    stop = _run(aws, request, as_json=as_json)
    if stop["status"] == "TIMED_OUT":
        print(f"everloop: ended after {timeout} seconds", file=sys.stderr)
        raise typer.Exit(EXIT_TIMED_OUT)
    raise typer.Exit(stop["exitCode"] if stop["exitCode"] >= 0 else EXIT_PLATFORM)


def _run(aws: "Aws", request: "Json", *, as_json: bool) -> "Json":
    """Follow the command to its end, joining it again when the stream breaks; its contentStop."""
    from everloop.cli import names
    from everloop.cli.errors import CommandError, StreamBroken

    key = names.new_invocation_id()
    shown = _Shown(as_json=as_json)
    deadline: float | None = None
    while True:
        try:
            stop = shown.follow(aws.run_command(request, invocation_id=key).events)
        except StreamBroken:
            deadline = deadline or time.monotonic() + JOIN_S
            if time.monotonic() > deadline:
                raise
        except CommandError as error:
            if deadline is None or time.monotonic() > deadline or "cannot reach" not in str(error):
                raise
        else:
            if stop is not None:
                return stop
            raise CommandError("the stream ended before the command did")
        time.sleep(JOIN_AGAIN_S)


class _Shown:
    """What of a command's output is on the terminal; a stream that is joined begins anew."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._written = {"stdout": 0, "stderr": 0}

    def follow(self, events: "Iterator[Json]") -> "Json | None":
        from everloop.cli.output import to_json

        seen = {"stdout": 0, "stderr": 0}
        for event in events:
            chunk: Json = event["chunk"]
            if "contentStop" in chunk:
                if self._as_json:
                    print(to_json(chunk), flush=True)
                return chunk["contentStop"]
            for name, text in chunk.get("contentDelta", {}).items():
                new = text[max(0, self._written[name] - seen[name]) :]
                seen[name] += len(text)
                if new:
                    self._written[name] += len(new)
                    self._write(name, new)
        return None

    def _write(self, name: str, text: str) -> None:
        from everloop.cli.output import to_json

        if self._as_json:
            print(to_json({"contentDelta": {name: text}}), flush=True)
            return
        stream = sys.stdout if name == "stdout" else sys.stderr
        stream.write(text)
        stream.flush()
