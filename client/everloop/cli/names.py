"""How a user names things: harnesses, sessions, invocations."""

import re
import secrets
import uuid
from dataclasses import dataclass

from everloop.cli.aws import Aws
from everloop.cli.errors import CommandError, UsageError

#: From the service model: `runtimeSessionId`.
SESSION_MIN = 33
SESSION_MAX = 100
_SESSION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-_]*")
_INVOCATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ARN = re.compile(r"arn:[^:]*:bedrock-agentcore:[^:]+:\d{12}:harness/(?P<id>[^/]+)")
_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,39}-[a-zA-Z0-9]{10}")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,39}")


@dataclass(frozen=True)
class HarnessName:
    """A harness that exists as far as we know; `arn` is None when only the id was given."""

    harness_id: str
    arn: str | None


def find_harness(aws: Aws, given: str) -> HarnessName:
    """Find a harness by ARN or id, which needs no call, or by name, which lists them.

    Raises:
        CommandError: no harness has that name.
        UsageError: it is neither a name nor an id nor an ARN.
    """
    arn = _ARN.fullmatch(given)
    if arn is not None:
        return HarnessName(arn["id"], given)
    if _ID.fullmatch(given):
        return HarnessName(given, None)
    if not _NAME.fullmatch(given):
        raise UsageError(f"neither the name nor the id nor the ARN of a harness: {given!r}")
    for summary in aws.list_harnesses():
        if summary["harnessName"] == given:
            return HarnessName(summary["harnessId"], summary["arn"])
    raise CommandError(
        f"ResourceNotFoundException: no harness is called {given!r}; see: everloop list"
    )


def harness_arn(aws: Aws, given: str) -> str:
    """The ARN of a harness, by ARN, id or name; for an id the API is asked.

    Raises:
        CommandError: there is none.
    """
    found = find_harness(aws, given)
    return found.arn or aws.get_harness(found.harness_id)["arn"]


def new_session_id() -> str:
    """A session id that nobody has."""
    return f"session-{uuid.uuid4().hex}"


def session_id(given: str) -> str:
    """The session id for what a user gave: short names are padded, always in the same way.

    Raises:
        UsageError: it cannot be one.
    """
    if not _SESSION.fullmatch(given) or len(given) > SESSION_MAX:
        raise UsageError(
            f"--session-id must be at most {SESSION_MAX} letters, digits, '-' and '_', "
            f"beginning with a letter or digit: {given!r}"
        )
    if len(given) >= SESSION_MIN:
        return given
    return f"{given}-".ljust(SESSION_MIN, "0")


def new_invocation_id() -> str:
    """An invocation id that nobody has."""
    return f"cli-{secrets.token_hex(16)}"


def invocation_id(given: str) -> str:
    """Check an invocation id.

    Raises:
        UsageError: it cannot be one.
    """
    if not _INVOCATION.fullmatch(given):
        raise UsageError(
            "--invocation-id must be at most 64 letters, digits, '-' and '_', "
            f"beginning with a letter or digit: {given!r}"
        )
    return given
