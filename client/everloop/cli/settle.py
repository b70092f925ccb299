"""Waiting until a change of a harness or an endpoint has settled, with progress to look at."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from everloop.cli.aws import Aws, Json
from everloop.cli.errors import ApiError, CommandError

#: Between two looks at first; a change takes tens of milliseconds here, and seconds on AWS.
FIRST_POLL_S = 0.02
#: The longest time between two looks.
POLL_S = 1.0
#: Seconds until the command gives up; the change goes on. AWS takes minutes for managed memory.
WAIT_S = 600.0

_IN_TRANSITION = ("CREATING", "UPDATING", "DELETING")

WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until the change has settled.")
]


def settled_harness(aws: Aws, answer: Json, *, wait: bool) -> Json:
    """A harness once it has settled, as GetHarness then shows it.

    Args:
        aws: where it is.
        answer: what the change answered; given back when there is nothing to wait for, or nothing
            left to show.
        wait: False gives back the answer at once.

    Raises:
        CommandError: the change failed, for the reason that is told, or takes too long.
    """
    return _settled(
        answer, answer["harnessName"], lambda: aws.get_harness(answer["harnessId"]), wait
    )


def settled_endpoint(aws: Aws, answer: Json, *, wait: bool) -> Json:
    """An endpoint once it has settled; arguments and errors as of `settled_harness`."""
    which = {name: answer[name] for name in ("harnessId", "endpointName")}

    def look() -> Json:
        return aws.control("get_harness_endpoint", **which)["endpoint"]

    return _settled(answer, f"endpoint {answer['endpointName']}", look, wait)


def _settled(answer: Json, what: str, look: Callable[[], Json], wait: bool) -> Json:
    from everloop.cli.output import stderr

    if not wait or answer["status"] not in _IN_TRANSITION:
        return answer
    with stderr().status(f"{what} is {answer['status']}") as shown:
        return _poll(answer, what, look, shown)


def _poll(answer: Json, what: str, look: Callable[[], Json], shown: Any) -> Json:
    from everloop.cli.output import harmless

    deadline = time.monotonic() + WAIT_S
    pause = FIRST_POLL_S
    while True:
        try:
            now = look()
        except ApiError as error:
            if answer["status"] == "DELETING" and error.name == "ResourceNotFoundException":
                return answer
            raise
        status = now["status"]
        if status.endswith("_FAILED"):
            why = harmless(now.get("failureReason") or "no reason was given")
            raise CommandError(f"{what} is {status}: {why}")
        if status not in _IN_TRANSITION and answer["status"] != "DELETING":
            return now
        if time.monotonic() > deadline:
            raise CommandError(
                f"{what} is still {status} after {WAIT_S:g} s; it goes on without this command"
            )
        shown.update(f"{what} is {status}")
        time.sleep(pause)
        pause = min(2 * pause, POLL_S)
