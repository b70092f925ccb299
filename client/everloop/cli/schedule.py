"""`everloop schedule create|list|get|pause|resume|trigger|delete`."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    JsonOption,
    RegionOption,
    examples,
)
from everloop.cli.temporal import NamespaceOption, TemporalOption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everloop.schedules import HarnessSchedule, ListedSchedule, Schedules

T = TypeVar("T")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
NoteOption = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why, for people.")]
#: Temporal's own name of the namespace that every cluster begins with.
DEFAULT_NAMESPACE = "default"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Harness runs by the clock, as Temporal Schedules. One run of a schedule at a time: "
        "what is due while one still goes is skipped.",
    )
    group.command(
        "create",
        help="Make a schedule: a run of a harness at each time of a cron expression, or each so "
        "often.",
        epilog=examples(
            "everloop schedule create morning --harness reporter --cron '0 7 * * *' "
            "--time-zone Europe/Zurich --text 'What broke last night?'",
            "everloop schedule create watch --harness guard --every 1h --session-id watch "
            "--text 'Look again.'",
        ),
    )(create)
    for name, command, text in (
        ("list", list_all, "List the schedules of harnesses."),
        ("get", get, "Show a schedule with its next and newest runs."),
        ("pause", pause, "Start nothing more until the schedule is resumed."),
        ("resume", resume, "Start runs again; those that were due meanwhile are not."),
        ("trigger", trigger, "Start a run now, also of a paused schedule."),
        ("delete", delete, "Delete a schedule; a run that goes, goes on."),
    ):
        example = f"everloop schedule {name}" + ("" if name == "list" else " morning")
        group.command(name, help=text, epilog=examples(example))(command)
    app.add_typer(group, name="schedule")


def create(
    name: NameArgument,
    harness: Annotated[
        str, typer.Option(metavar="HARNESS", help="What to run, by name, id or ARN.")
    ],
    text: Annotated[str, typer.Option(metavar="TEXT", help="What the user says, each time.")],
    cron: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help="When, as '0 7 * * *' or @daily.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="TIME", help="How often, as 90s, 30m, 2h or 1d.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of --cron, as Europe/Zurich; else UTC.")
    ] = None,
    session_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Go on in this session; else each run has its own."),
    ] = None,
    qualifier: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Endpoint; else the newest version.")
    ] = None,
    actor_id: Annotated[
        str | None, typer.Option(metavar="ID", help="On whose behalf the agent acts.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End a run that takes longer, people included."),
    ] = None,
    note: NoteOption = None,
    as_json: JsonOption = False,
    temporal_address: TemporalOption = None,
    temporal_namespace: NamespaceOption = DEFAULT_NAMESPACE,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Make a schedule, for a harness that the API knows."""
    from everloop.cli import names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.decisions import seconds
    from everloop.options import RunOptions

    session = names.session_id(session_id) if session_id else None
    interval = timedelta(seconds=seconds(every, "--every")) if every is not None else None
    options = RunOptions(session_id=session, qualifier=qualifier, actor_id=actor_id)
    if timeout is not None:
        options["timeout"] = timedelta(seconds=seconds(timeout, "--timeout"))
    aws = Aws(connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir))
    # A name that nobody has is noticed now, not at seven in the morning.
    arn = names.harness_arn(aws, harness)

    async def work(schedules: "Schedules") -> "HarnessSchedule":
        return await schedules.create(
            name, arn, text, cron=cron, every=interval, time_zone=time_zone, note=note, **options
        )

    made = _do(work, temporal_address, temporal_namespace, data_dir)
    _show(made, as_json)


def list_all(
    as_json: JsonOption = False,
    temporal_address: TemporalOption = None,
    temporal_namespace: NamespaceOption = DEFAULT_NAMESPACE,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List every schedule."""
    from everloop.cli.output import print_json, stdout

    async def work(schedules: "Schedules") -> "list[ListedSchedule]":
        return list(await schedules.list())

    found = _do(work, temporal_address, temporal_namespace, data_dir)
    if as_json:
        print_json({"schedules": [_listed(each) for each in found]})
    else:
        stdout().print(_table(found))


def get(
    name: NameArgument,
    as_json: JsonOption = False,
    temporal_address: TemporalOption = None,
    temporal_namespace: NamespaceOption = DEFAULT_NAMESPACE,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show a schedule."""

    async def work(schedules: "Schedules") -> "HarnessSchedule":
        return await schedules.get(name)

    _show(_do(work, temporal_address, temporal_namespace, data_dir), as_json)


def pause(
    name: NameArgument,
    note: NoteOption = None,
    as_json: JsonOption = False,
    temporal_address: TemporalOption = None,
    temporal_namespace: NamespaceOption = DEFAULT_NAMESPACE,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Pause a schedule."""

    async def work(schedules: "Schedules") -> "HarnessSchedule":
        await schedules.pause(name, note=note)
        return await schedules.get(name)

    _show(_do(work, temporal_address, temporal_namespace, data_dir), as_json)


def resume(
    name: NameArgument,
    note: NoteOption = None,
    as_json: JsonOption = False,
    temporal_address: TemporalOption = None,
    temporal_namespace: NamespaceOption = DEFAULT_NAMESPACE,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Resume a schedule."""

    async def work(schedules: "Schedules") -> "HarnessSchedule":
        await schedules.resume(name, note=note)
        return await schedules.get(name)

    _show(_do(work, temporal_address, temporal_namespace, data_dir), as_json)


def trigger(
    name: NameArgument,
    as_json: JsonOption = False,
    temporal_address: TemporalOption = None,
    temporal_namespace: NamespaceOption = DEFAULT_NAMESPACE,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Start a run."""

    async def work(schedules: "Schedules") -> None:
        await schedules.trigger(name)

    _do(work, temporal_address, temporal_namespace, data_dir)
    _say(f"{name}: a run begins", {"name": name, "triggered": True}, as_json)


def delete(
    name: NameArgument,
    as_json: JsonOption = False,
    temporal_address: TemporalOption = None,
    temporal_namespace: NamespaceOption = DEFAULT_NAMESPACE,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete a schedule."""

    async def work(schedules: "Schedules") -> None:
        await schedules.delete(name)

    _do(work, temporal_address, temporal_namespace, data_dir)
    _say(f"{name}: deleted", {"name": name, "deleted": True}, as_json)


def _do(
    work: "Callable[[Schedules], Awaitable[T]]",
    address: str | None,
    namespace: str,
    data_dir: Path,
) -> T:
    from everloop.cli.errors import CommandError
    from everloop.cli.temporal import with_temporal
    from everloop.schedules import NoSuchSchedule, ScheduleRefused, Schedules

    try:
        return with_temporal(
            lambda client: work(Schedules(client)),
            address=address,
            namespace=namespace,
            data_dir=data_dir,
        )
    except (NoSuchSchedule, ScheduleRefused) as error:
        raise CommandError(str(error)) from None


def _listed(found: "ListedSchedule") -> dict[str, Any]:
    return {
        "name": found.name,
        "harness": found.harness,
        "cron": found.cron,
        "everySeconds": found.every_s,
        "timeZone": found.time_zone,
        "paused": found.paused,
        "note": found.note,
        "nextAt": list(found.next_at),
        "recent": [{"run": each.id, "startedAt": each.started_at} for each in found.recent],
    }


def _whole(found: "HarnessSchedule") -> dict[str, Any]:
    return {
        **_listed(found),
        "text": found.run.prompt,
        "runtimeSessionId": found.run.session_id,
        "qualifier": found.run.qualifier,
        "actorId": found.run.actor_id,
        "timeoutSeconds": found.run.timeout_s,
        "running": list(found.running),
        "started": found.started,
        "skipped": found.skipped,
        "missed": found.missed,
    }


def _show(found: "HarnessSchedule", as_json: bool) -> None:
    from everloop.cli.output import harmless, print_json, stdout

    if as_json:
        print_json({"schedule": _whole(found)})
        return
    session = found.run.session_id or "a new one for each run"
    lines = [f"{found.name}  {'paused' if found.paused else 'on'}  {found.note or ''}".rstrip()]
    lines += [f"harness  {found.harness}", f"when     {_when(found)}"]
    lines += [f"says     {found.run.prompt}", f"session  {session}"]
    lines += [f"next     {_time(each)}" for each in found.next_at[:3]]
    for each in found.recent:
        going = "  (going)" if each.id in found.running else ""
        lines.append(f"ran      {_time(each.started_at)}  {each.id}{going}")
    lines.append(f"{found.started} started, {found.skipped} skipped, {found.missed} missed")
    stdout().print(harmless("\n".join(lines)), markup=False)


def _say(line: str, told: dict[str, Any], as_json: bool) -> None:
    from everloop.cli.output import print_json, stdout

    if as_json:
        print_json(told)
    else:
        stdout().print(line, markup=False)


def _table(found: "list[Any]") -> object:
    from rich.table import Table
    from rich.text import Text

    from everloop.cli.output import harmless

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("schedule", "harness", "when", "state", "next", "note"):
        table.add_column(heading, no_wrap=True)
    each: ListedSchedule
    for each in found:
        cells = (
            each.name,
            each.harness.rsplit("/", 1)[-1],
            _when(each),
            "paused" if each.paused else "on",
            _time(each.next_at[0]) if each.next_at and not each.paused else "-",
            each.note or "",
        )
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    return table


def _when(found: "ListedSchedule") -> str:
    if found.cron is None:
        return f"every {timedelta(seconds=found.every_s or 0)}"
    return f"{found.cron} {found.time_zone or 'UTC'}"


def _time(moment: datetime) -> str:
    """A time by this machine's clock."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
