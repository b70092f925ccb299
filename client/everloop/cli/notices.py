"""`everloop notices`: what was sent about decisions, and what became of it."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

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


class NoticeState(StrEnum):
    """Where a notice stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "notices",
        help="List the notices about decisions, newest first, and whether they were delivered.",
        epilog=examples("everloop notices", "everloop notices --state failed --json"),
    )(notices)


def notices(
    state: Annotated[NoticeState | None, typer.Option(help="Only those that stand so.")] = None,
    max_results: MaxResultsOption = None,
    next_token: NextTokenOption = None,
    as_json: JsonOption = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List notices."""
    from everloop.cli import own_api
    from everloop.cli.connection import connect
    from everloop.cli.output import harmless, print_json, stderr, stdout

    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    asked: dict[str, Any] = {"state": state, "maxResults": max_results, "nextToken": next_token}
    query = {name: str(value) for name, value in asked.items() if value is not None}
    found = own_api.get(connection, "notices", query=query)
    if as_json:
        print_json(found)
        return
    if not found["notices"]:
        stderr().print("no notices", markup=False)
    for each in found["notices"]:
        stdout().print(harmless(describe(each)), markup=False)
    if "nextToken" in found:
        stderr().print(f"more with: --next-token {found['nextToken']}", markup=False)


def describe(notice: "Json") -> str:
    """A notice for a person."""
    n = notice
    tried = f", sent {n['attempts']} times" if n["attempts"] > 1 else ""
    why = f"; the last time: {n['error']}" if n["error"] else ""
    to = f" to {n['recipient']}" if n["recipient"] else ""
    way = f"{n['channel']}{to}: " if n["channel"] else ""
    return "\n".join(
        [
            f"{n['noticeId']}  {way}{n['state']}{tried}{why}",
            f"  {n['kind']} {n['at']}: {n['tool']} ({n['decisionId']}, {n['decisionStatus']})",
            f"  of {n['harnessId']}, session {n['runtimeSessionId']}",
        ]
    )
