"""`everloop inbox` and `everloop decide`."""

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    JsonOption,
    MaxResultsOption,
    NextTokenOption,
    RegionOption,
    examples,
)

if TYPE_CHECKING:
    from everloop.cli.own_api import Json

AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="USER",
        help="Decide as this user, on a loopback API. Elsewhere the access key says who you are.",
    ),
]
AsRoleOption = Annotated[
    list[str] | None,
    typer.Option("--as-role", metavar="ROLE", help="A role of that user. Repeatable."),
]

_AGE = re.compile(r"(\d+)([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Status(StrEnum):
    """Where a decision stands."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Verdict(StrEnum):
    """What to say."""

    APPROVE = "approve"
    REJECT = "reject"
    ANSWER = "answer"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "inbox",
        help="List the tool calls that wait for people, in all sessions; or show one.",
        epilog=examples(
            "everloop inbox",
            "everloop inbox --mine --as ada",
            "everloop inbox --role finance --older-than 2h --json",
            "everloop inbox dec-0a1b",
        ),
    )(inbox)
    app.command(
        "decide",
        help="Approve, reject or answer a tool call that waits, as it is now.",
        epilog=examples(
            "everloop decide dec-0a1b approve",
            "everloop decide dec-0a1b reject --reason 'not on a Friday'",
            'everloop decide dec-0a1b approve --edit \'{"command": "ls"}\'',
            "everloop decide dec-0a1b answer --text 'the key is 42'",
        ),
    )(decide)


def inbox(
    decision_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="Show this decision, with its votes.", show_default=False
        ),
    ] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only what you may decide.")] = False,
    user: Annotated[str | None, typer.Option(help="Only what names this user.")] = None,
    role: Annotated[str | None, typer.Option(help="Only what names this role.")] = None,
    root_session: Annotated[
        str | None,
        typer.Option(
            metavar="HARNESS_ID/SESSION", help="Only of this session and of agents below it."
        ),
    ] = None,
    harness: Annotated[
        str | None, typer.Option(help="Only of this harness, by name, id or ARN.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Only what waits longer, as 90s, 30m, 2h or 1d.")
    ] = None,
    status: Annotated[Status, typer.Option(help="Where the decisions stand.")] = Status.OPEN,
    max_results: MaxResultsOption = None,
    next_token: NextTokenOption = None,
    as_user: AsOption = None,
    as_role: AsRoleOption = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List decisions, or show one."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json, stderr, stdout
    from everloop.cli.shown_decision import describe
    from everloop.inbox import Inbox

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    if decision_id is not None:
        one = Inbox(connection).get(decision_id)
        if as_json:
            print_json({"decision": one})
        else:
            stdout().print(describe(one), markup=False)
        return
    harness_id = find_harness(Aws(connection), harness).harness_id if harness else None
    asked = {
        "status": status.value,
        "mine": "true" if mine else None,
        "user": user,
        "role": role,
        "rootSession": root_session,
        "harnessId": harness_id,
        "olderThanSeconds": None if older_than is None else str(seconds(older_than)),
    }
    told = Inbox(connection, as_user, tuple(as_role or ())).page(
        {name: value for name, value in asked.items() if value is not None},
        max_results=max_results,
        next_token=next_token,
    )
    found = told["decisions"]
    if as_json:
        print_json(told)
    elif not found:
        stderr().print(f"no {status} decisions", markup=False)
    else:
        for each in found:
            stdout().print(describe(each), markup=False)
        if "nextToken" in told:
            stderr().print(f"more with: --next-token {told['nextToken']}", markup=False)


def decide(
    decision_id: Annotated[str, typer.Argument(metavar="ID", help="From `everloop inbox`.")],
    verdict: Annotated[Verdict, typer.Argument(metavar="approve|reject|answer")],
    reason: Annotated[str | None, typer.Option(help="Why; the model reads it.")] = None,
    edit: Annotated[
        str | None,
        typer.Option(help="Arguments to run instead: JSON, or a file.", metavar="JSON|FILE"),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="For answer: the result of the inline function.")
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(help="Decide only if this is still the call's digest.", metavar="SHA256"),
    ] = None,
    as_user: AsOption = None,
    as_role: AsRoleOption = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Vote about a decision."""
    from everloop.cli.connection import connect
    from everloop.cli.errors import UsageError
    from everloop.cli.output import print_json, stderr, stdout
    from everloop.cli.shown_decision import describe
    from everloop.inbox import Inbox

    if (verdict is Verdict.ANSWER) != (text is not None):
        raise UsageError("--text goes with answer, and answer needs it")
    if edit is not None and verdict is not Verdict.APPROVE:
        raise UsageError("--edit goes with approve")
    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    people = Inbox(connection, as_user, tuple(as_role or ()))
    seen = people.get(decision_id)
    if not as_json:
        stderr().print(describe(seen), markup=False)
    if digest is not None:
        seen = {**seen, "digest": digest}
    arguments = None if edit is None else read_edit(edit)
    after = people.vote(seen, verdict, reason=reason, arguments=arguments, answer=text)
    if as_json:
        print_json({"decision": after})
        return
    agreed = f"{len(after['agreed'])} of {after['required']} agreed"
    said = agreed if after["status"] == Status.OPEN else after["status"]
    stdout().print(f"{decision_id}: {said}", markup=False)


def seconds(age: str, what: str = "an age") -> int:
    """Seconds of an age, or of another length of time, as 90s, 30m, 2h or 1d.

    Raises:
        UsageError: it is not of that form.
    """
    from everloop.cli.errors import UsageError

    match = _AGE.fullmatch(age)
    if match is None:
        raise UsageError(f"{what} is written as 90s, 30m, 2h or 1d, not {age!r}")
    return int(match[1]) * _UNIT_S[match[2]]


def read_edit(given: str) -> "Json":
    """Arguments from JSON text, or from a file that holds it.

    Raises:
        UsageError: it is no JSON object.
    """
    from everloop.cli.errors import UsageError

    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = Path(given).read_text()
        except OSError as error:
            raise UsageError(f"--edit is neither a JSON object nor a file: {error}") from error
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--edit does not hold JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError("--edit must be a JSON object")
    return cast("Json", found)
