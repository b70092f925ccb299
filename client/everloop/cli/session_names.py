"""How a user names a session: `HARNESS/ID`, or only `ID` when there is one harness."""

from dataclasses import dataclass
from typing import Annotated

import typer

from everloop.cli import names
from everloop.cli.aws import Aws
from everloop.cli.errors import UsageError

SessionArgument = Annotated[
    str,
    typer.Argument(
        metavar="SESSION",
        help="A session as HARNESS/ID, the harness by name, id or ARN; only ID when there is one "
        "harness. Short ids are padded as --session-id of `everloop invoke` is.",
    ),
]


@dataclass(frozen=True)
class SessionName:
    """A session of a harness that exists as far as we know."""

    harness_id: str
    session_id: str


def find_session(aws: Aws, given: str) -> SessionName:
    """The session that a user means.

    Raises:
        UsageError: it is not clear which.
        CommandError: no harness has that name.
    """
    harness, slash, session = given.rpartition("/")
    session_id = names.session_id(session)
    if slash:
        return SessionName(names.find_harness(aws, harness).harness_id, session_id)
    found = aws.list_harnesses()
    if len(found) != 1:
        raise UsageError(
            f"there are {len(found)} harnesses: name the session as HARNESS/{given}; "
            "see: everloop list"
        )
    return SessionName(found[0]["harnessId"], session_id)


def harness_arn(aws: Aws, name: SessionName) -> str:
    """The ARN of a session's harness.

    Raises:
        CommandError: it does not exist.
    """
    return names.harness_arn(aws, name.harness_id)
