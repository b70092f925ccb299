"""`everloop inbox` and `everloop decide`."""

import json
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    JsonOption,
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
        help="List the tool calls that wait for people, in all sessions.",
        epilog=examples(
            "everloop inbox",
            "everloop inbox --mine --as ada",
            "everloop inbox --role finance --older-than 2h --json",
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
    as_user: AsOption = None,
    as_role: AsRoleOption = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List decisions."""
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.names import find_harness
    from everloop.cli.output import print_json, stderr, stdout
    from everloop.inbox import Inbox

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    harness_id = find_harness(Aws(connection), harness).harness_id if harness else None
    found = list(
        Inbox(connection, as_user, tuple(as_role or ())).list(
            status=status,
            mine=mine,
            user=user,
            role=role,
            root_session=root_session,
            harness_id=harness_id,
            older_than_s=None if older_than is None else seconds(older_than),
        )
    )
    if as_json:
        print_json({"decisions": found})
    elif not found:
        stderr().print(f"no {status} decisions", markup=False)
    else:
        for each in found:
            stdout().print(describe(each), markup=False)


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


def describe(decision: "Json") -> str:
    """A decision for a person, without what would steer a terminal."""
    from everloop.cli.output import harmless

    d = decision
    lines = [f"{d['decisionId']}  {d['tool']}  {_state(d)}"]
    lines.append(
        f"  of {d['harnessId']} version {d['harnessVersion']}, session {d['runtimeSessionId']}"
    )
    if d.get("rootSession"):
        lines.append(f"  for session {d['rootSession']}, whose agents called it")
    who = _who(d["deciders"])
    rule = f", by {d['rule']}" if d.get("rule") else ""
    more = f"; {d['required']} must agree" if d["required"] > 1 else ""
    agreed = f", so far {', '.join(d['agreed'])}" if d.get("agreed") else ""
    lines.append(f"  decided by {who}{rule}{more}{agreed}")
    if d["arguments"] is None:
        lines.append("  (long arguments: everloop decide, or GET the decision, shows them)")
    else:
        lines += [f"  {line}" for line in _arguments(d["arguments"])]
    if d.get("proposedArguments", d["arguments"]) != d["arguments"]:
        lines += ["  edited; the model asked for:"]
        lines += [f"    {line}" for line in _arguments(d["proposedArguments"])]
    return harmless("\n".join(lines))


def _state(d: "Json") -> str:
    if d["status"] != Status.OPEN:
        by = f" by {d['decidedBy']}" if d["decidedBy"] else ""
        return f"{d['status']}{by}"
    waited = f"waits for {_span(datetime.now(UTC) - _time(d['requestedAt']))}"
    if d["dueAt"] is None:
        return waited
    left = _span(_time(d["dueAt"]) - datetime.now(UTC))
    return f"{waited}, {d['onTimeout']} in {left}"


def _arguments(arguments: "Json") -> list[str]:
    lines: list[str] = []
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        first, *rest = text.splitlines() or [""]
        lines += [f"{name}: {first}", *(f"    {line}" for line in rest)]
    return lines or ["(no arguments)"]


def _who(deciders: "Json") -> str:
    named = [*deciders["users"], *(f"role {role}" for role in deciders["roles"])]
    return ", ".join(named) or "anybody"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _span(span: timedelta) -> str:
    left = max(int(span.total_seconds()), 0)
    for unit in ("d", "h", "m"):
        if left >= 2 * _UNIT_S[unit]:
            return f"{left // _UNIT_S[unit]}{unit}"
    return f"{left}s"
