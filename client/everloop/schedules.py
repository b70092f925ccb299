"""Harness runs that begin by the clock: Temporal Schedules that start `RunHarness`.

    schedules = Schedules((await everloop.connect()).temporal)
    await schedules.create("morning", "reporter", "What broke last night?", cron="0 7 * * *")

A schedule is Temporal's own: it survives every process, and Temporal's tools show and change it.
One run at a time: when one is due while the one before still goes, also because it waits for
people, it is skipped. Schedules of other workflows in the namespace are neither shown nor touched.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Unpack, cast

from temporalio.client import (
    Client,
    RPCError,
    RPCStatusCode,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleListActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)

from everloop.options import RunOptions, input_of
from everloop.runs import TASK_QUEUE, WORKFLOW, HarnessRun

#: A run that was due while Temporal was down starts up to so much late; an older one is missed:
#: what an agent would have said last week helps nobody.
CATCH_UP = timedelta(hours=1)
#: Temporal counts in seconds.
SHORTEST_INTERVAL = timedelta(seconds=1)
#: Of a name: with the time that Temporal appends it is within what Temporal takes as a workflow id.
MAX_NAME_CHARACTERS = 200
#: Of one call to Temporal.
_RPC = timedelta(seconds=10)
#: A schedule's memo says what Temporal's list of schedules does not: an object with these members.
_MEMO = "everloop"


class ScheduleRefused(ValueError):
    """The schedule cannot be as it was asked for; the message says why."""


class NoSuchSchedule(LookupError):
    """No schedule of a harness has that name."""


@dataclass(frozen=True)
class StartedRun:
    """A run that a schedule started.

    Attributes:
        id: the run's id, which is its workflow's.
        started_at: when.
    """

    id: str
    started_at: datetime


@dataclass(frozen=True)
class ListedSchedule:
    """A schedule as a list shows it.

    Attributes:
        name: its name, which is its id in Temporal.
        harness: what it runs, as it was named.
        cron: when, as a cron expression; None when `every_s` says it.
        every_s: seconds from one run to the next; None when `cron` says it.
        time_zone: of the cron expression, an IANA name; None is UTC.
        paused: whether it starts nothing until it is resumed.
        note: why it was paused or resumed, or what it was made for.
        next_at: when the next runs are due, soonest first.
        recent: the newest runs, oldest first.
    """

    name: str
    harness: str
    cron: str | None
    every_s: float | None
    time_zone: str | None
    paused: bool
    note: str | None
    next_at: tuple[datetime, ...]
    recent: tuple[StartedRun, ...]


@dataclass(frozen=True)
class HarnessSchedule(ListedSchedule):
    """A schedule as it is.

    Attributes:
        run: what each run is asked. Without a session id each has a session of its own.
        running: ids of the runs that go now.
        started: runs started since the schedule was made.
        skipped: runs that were due while another one went.
        missed: runs that were due while Temporal was down for longer than `CATCH_UP`.
    """

    run: HarnessRun
    running: tuple[str, ...]
    started: int
    skipped: int
    missed: int


class Schedules:
    """The schedules of harness runs in a Temporal namespace that Everloop's workers serve.

    Every method raises `RPCError` when Temporal cannot be reached, and all that name a schedule
    but `create` raise `NoSuchSchedule` when there is none.
    """

    def __init__(self, temporal: Client) -> None:
        """Use a connected Temporal client."""
        self._temporal = temporal

    async def create(
        self,
        name: str,
        harness: str,
        prompt: str,
        *,
        cron: str | None = None,
        every: timedelta | None = None,
        time_zone: str | None = None,
        note: str | None = None,
        **options: Unpack[RunOptions],
    ) -> HarnessSchedule:
        """Make a schedule, which is in force at once.

        Args:
            name: of the schedule.
            harness: its name, id or ARN, or the ARN of one of its endpoints.
            prompt: what the user says, each time.
            cron: when, as five fields or as Temporal's other forms, such as `@daily`.
            every: the time from one run to the next, counted from 1970; instead of `cron`.
            time_zone: an IANA name, for `cron`; UTC when left out.
            note: for people.
            **options: see `RunOptions`. With a `session_id` each run goes on in that session.

        Raises:
            ScheduleRefused: the name is taken, or the input is bad.
        """
        _check(name, prompt, cron, every, time_zone)
        run = input_of(harness, prompt, None, **options)
        schedule = Schedule(
            action=ScheduleActionStartWorkflow(
                WORKFLOW,
                run,
                id=f"schedule-{name}",
                task_queue=TASK_QUEUE,
                static_summary=f"harness {harness}",
            ),
            spec=ScheduleSpec(
                cron_expressions=[cron] if cron else [],
                intervals=[ScheduleIntervalSpec(every)] if every else [],
                time_zone_name=time_zone,
            ),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
            state=ScheduleState(note=note),
        )
        every_s = every.total_seconds() if every else None
        memo = {"harness": harness, "cron": cron, "every_s": every_s, "time_zone": time_zone}
        try:
            await self._temporal.create_schedule(
                name, schedule, memo={_MEMO: memo}, rpc_timeout=_RPC
            )
        except ScheduleAlreadyRunningError:
            raise ScheduleRefused(f"there is a schedule named {name!r} already") from None
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise ScheduleRefused(f"Temporal refuses the schedule: {error.message}") from None
        return await self.get(name)

    async def list(self) -> Sequence[ListedSchedule]:
        """All schedules of harnesses, by name. One just made may be missing for a moment."""
        found: list[ListedSchedule] = []
        async for each in await self._temporal.list_schedules(rpc_timeout=_RPC):
            memo = (await each.memo()).get(_MEMO)
            if memo is None or each.schedule is None or each.info is None:
                continue
            action = each.schedule.action
            if not isinstance(action, ScheduleListActionStartWorkflow):
                continue
            if action.workflow == WORKFLOW:
                found.append(
                    ListedSchedule(
                        name=each.id,
                        paused=each.schedule.state.paused,
                        note=each.schedule.state.note,
                        next_at=tuple(each.info.next_action_times),
                        recent=_recent(each.info.recent_actions),
                        **_remembered(memo),
                    )
                )
        return sorted(found, key=lambda each: each.name)

    async def get(self, name: str) -> HarnessSchedule:
        """One schedule as it is."""
        async with self._found(name) as (_, told):
            action = told.schedule.action
            assert isinstance(action, ScheduleActionStartWorkflow)
            (run,) = await self._temporal.data_converter.decode(
                cast("Sequence[Any]", action.args), [HarnessRun]
            )
            info = told.info
            return HarnessSchedule(
                name=name,
                paused=told.schedule.state.paused,
                note=told.schedule.state.note,
                next_at=tuple(info.next_action_times),
                recent=_recent(info.recent_actions),
                run=run,
                running=_running(told),
                started=info.num_actions,
                skipped=info.num_actions_skipped_overlap,
                missed=info.num_actions_missed_catchup_window,
                **_remembered((await told.memo())[_MEMO]),
            )

    async def pause(self, name: str, *, note: str | None = None) -> None:
        """Have a schedule start nothing until it is resumed; a run that goes, goes on."""
        async with self._found(name) as (handle, _):
            await handle.pause(note=note, rpc_timeout=_RPC)

    async def resume(self, name: str, *, note: str | None = None) -> None:
        """Have a paused schedule start runs again; those that were due meanwhile are not."""
        async with self._found(name) as (handle, _):
            await handle.unpause(note=note, rpc_timeout=_RPC)

    async def trigger(self, name: str) -> None:
        """Start a run now, also of a paused schedule.

        Raises:
            ScheduleRefused: a run of it still goes.
        """
        async with self._found(name) as (handle, told):
            running = _running(told)
            if running:
                raise ScheduleRefused(f"the run {running[0]} of {name!r} still goes")
            await handle.trigger(rpc_timeout=_RPC)

    async def delete(self, name: str) -> None:
        """Delete a schedule; a run that goes, goes on, and sessions stay."""
        async with self._found(name) as (handle, _):
            await handle.delete(rpc_timeout=_RPC)

    @asynccontextmanager
    async def _found(self, name: str) -> AsyncGenerator[tuple[ScheduleHandle, ScheduleDescription]]:
        """A schedule that is one of a harness, for as long as it is there."""
        handle = self._temporal.get_schedule_handle(name)
        try:
            told = await handle.describe(rpc_timeout=_RPC)
            if _MEMO not in await told.memo():
                raise NoSuchSchedule(f"the schedule {name!r} is not one of a harness")
            yield handle, told
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise NoSuchSchedule(f"there is no schedule named {name!r}") from None


def _check(
    name: str, prompt: str, cron: str | None, every: timedelta | None, time_zone: str | None
) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise ScheduleRefused(f"name must be 1 to {MAX_NAME_CHARACTERS} printable characters")
    if not prompt:
        raise ScheduleRefused("prompt must hold text")
    if (cron is None) == (every is None):
        raise ScheduleRefused("either cron or every says when, and not both")
    if cron is not None and not cron.strip():
        raise ScheduleRefused("cron must hold an expression, as 0 7 * * *")
    if every is not None and every < SHORTEST_INTERVAL:
        raise ScheduleRefused(f"every must be at least {SHORTEST_INTERVAL.total_seconds():g} s")
    if every is not None and time_zone is not None:
        raise ScheduleRefused("time_zone goes with cron")


def _remembered(memo: Mapping[str, Any]) -> dict[str, Any]:
    return {member: memo.get(member) for member in ("harness", "cron", "every_s", "time_zone")}


def _recent(actions: Sequence[Any]) -> tuple[StartedRun, ...]:
    return tuple(
        StartedRun(each.action.workflow_id, each.started_at)
        for each in actions
        if isinstance(each.action, ScheduleActionExecutionStartWorkflow)
    )


def _running(told: ScheduleDescription) -> tuple[str, ...]:
    return tuple(
        each.workflow_id
        for each in told.info.running_actions
        if isinstance(each, ScheduleActionExecutionStartWorkflow)
    )
