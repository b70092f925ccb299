import pytest

from contracts.errors import ServiceError, StaleAttempt, TooLarge
from contracts.events import Delta, EventKind, Settled
from contracts.messages import StopReason, ToolStatus
from contracts.tools import CallState, ToolKind
from store.bounds import MAX_DELTA_BYTES, MAX_MESSAGE_BYTES, MAX_OUTCOME_BYTES
from store.digests import call_digest
from tests.store.play import USAGE, Play, inline, piece, reply, sandbox

OPENED, DELTA, MESSAGE = EventKind.OPENED, EventKind.DELTA, EventKind.MESSAGE
RESULTS, END = EventKind.RESULTS, EventKind.END


async def test_every_start_of_a_step_takes_a_newer_attempt(play: Play) -> None:
    await play.open("i1")
    turns = play.store.turns
    assert [(await turns.begin_step(play.session, "i1", 0)).attempt for _ in range(3)] == [1, 2, 3]
    await play.commit("i1", 0, 3)
    assert (await turns.begin_step(play.session, "i1", 1)).attempt == 1


async def test_a_stale_writer_is_refused_everywhere_and_leaves_no_trace(play: Play) -> None:
    await play.open("i1")
    turns = play.store.turns
    await turns.begin_step(play.session, "i1", 0)
    await turns.append(play.session, "i1", 0, 1, 0, piece("old"))
    await turns.begin_step(play.session, "i1", 0)
    await turns.append(play.session, "i1", 0, 2, 0, piece("new"))
    with pytest.raises(StaleAttempt):
        await turns.append(play.session, "i1", 0, 1, 1, piece("zombie"))
    with pytest.raises(StaleAttempt):
        await play.commit("i1", 0, 1)
    assert [
        event.payload.pieces[0].text
        for event in await play.events()
        if isinstance(event.payload, Delta)
    ] == ["new"]
    assert len(await play.messages()) == 1


async def test_appending_twice_keeps_the_first_row(play: Play) -> None:
    await play.open("i1")
    await play.store.turns.begin_step(play.session, "i1", 0)
    for text in ("first", "again"):
        await play.store.turns.append(play.session, "i1", 0, 1, 0, piece(text))
    await play.store.turns.append(play.session, "i1", 0, 1, 1, piece("next"))
    rows = [event for event in await play.events() if isinstance(event.payload, Delta)]
    assert [(row.index, row.payload) for row in rows] == [
        (0, Delta(pieces=tuple(piece("first")))),
        (1, Delta(pieces=tuple(piece("next")))),
    ]


async def test_settling_a_step_drops_its_deltas(play: Play) -> None:
    await play.open("i1")
    start = await play.store.turns.begin_step(play.session, "i1", 0)
    await play.store.turns.append(play.session, "i1", 0, start.attempt, 0, piece("Su"))
    assert await play.kinds() == [OPENED, DELTA]
    seq = await play.commit("i1", 0, start.attempt)
    assert await play.kinds() == [OPENED, MESSAGE]
    settled = (await play.events())[-1]
    assert settled.payload == Settled(seq=seq, usage=USAGE, latency_ms=5)
    assert (settled.step, settled.attempt) == (0, 1)
    assert await play.store.transcript.message(play.session, seq) == reply()


async def test_a_retry_after_the_commit_gets_the_settled_message(play: Play) -> None:
    await play.open("i1")
    seq = await play.step("i1", 0, sandbox("a"), inline("b"))
    again = await play.store.turns.begin_step(play.session, "i1", 0)
    assert again.settled is not None
    assert (again.settled.seq, again.settled.stop_reason) == (seq, StopReason.TOOL_USE)
    assert (again.settled.usage, again.settled.latency_ms) == (USAGE, 5)
    assert [(call.id, call.queue) for call in again.settled.calls] == [
        ("a", "sandbox-local"),
        ("b", None),
    ]
    assert await play.commit("i1", 0, again.attempt, sandbox("a"), inline("b")) == seq
    assert await play.kinds() == [OPENED, MESSAGE]
    with pytest.raises(StaleAttempt):
        await play.store.turns.append(play.session, "i1", 0, again.attempt, 1, piece("late"))


async def test_beginning_a_step_settles_results_once(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    await play.finish("a")
    starts = [await play.store.turns.begin_step(play.session, "i1", 1) for _ in range(2)]
    assert [start.seq for start in starts] == [3, 3]
    assert await play.kinds() == [OPENED, MESSAGE, RESULTS]


async def test_a_step_does_not_begin_before_its_calls_are_done(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"), sandbox("b"))
    await play.finish("a")
    with pytest.raises(ServiceError, match="must wait"):
        await play.store.turns.begin_step(play.session, "i1", 1)
    assert await play.kinds() == [OPENED, MESSAGE]
    await play.finish("b")
    assert (await play.store.turns.begin_step(play.session, "i1", 1)).seq == 3


async def test_nobody_writes_a_step_of_an_invocation_that_is_over(play: Play) -> None:
    await play.open("i1")
    start = await play.store.turns.begin_step(play.session, "i1", 0)
    await play.store.turns.append(play.session, "i1", 0, start.attempt, 0, piece("cut"))
    await play.close("i1", StopReason.TIMEOUT_EXCEEDED)
    with pytest.raises(StaleAttempt):
        await play.store.turns.append(play.session, "i1", 0, start.attempt, 1, piece("off"))
    with pytest.raises(StaleAttempt):
        await play.commit("i1", 0, start.attempt)
    with pytest.raises(StaleAttempt):
        await play.store.turns.begin_step(play.session, "i1", 0)
    assert await play.kinds() == [OPENED, END]


async def test_a_call_that_could_not_be_run_is_done_with_its_error(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a", failure="There is no such tool."))
    call = await play.store.calls.get(play.session, "a")
    assert (call.state, call.status) == (CallState.DONE, ToolStatus.ERROR)
    assert call.content == ("There is no such tool.",)


async def test_a_call_tells_all_that_its_runner_needs(play: Play) -> None:
    await play.open("i1")
    seq = await play.step("i1", 0, inline("x"), sandbox("a"))
    call = await play.store.calls.get(play.session, "a")
    assert (call.seq, call.position, call.step, call.invocation_id) == (seq, 1, 0, "i1")
    assert (call.name, call.kind, call.queue, call.timeout_s) == (
        "shell",
        ToolKind.SANDBOX,
        "sandbox-local",
        60,
    )
    assert call.input == {"command": "a"}
    assert call.digest == call_digest("shell", {"command": "a"})
    with pytest.raises(ServiceError, match="none"):
        await play.store.calls.get(play.session, "none")


async def test_the_first_boot_and_the_first_outcome_stay(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    calls = play.store.calls
    started = await calls.start(play.session, "a", "boot-1")
    assert (started.state, started.boot_id) == (CallState.STARTED, "boot-1")
    assert await calls.start(play.session, "a", "boot-2") == started
    done = await calls.finish(play.session, "a", status=ToolStatus.SUCCESS, content=["x", "y"])
    assert (done.state, done.content) == (CallState.DONE, ("x", "y"))
    late = await calls.finish(play.session, "a", status=ToolStatus.ERROR, content=["z"])
    assert late == done
    assert await calls.start(play.session, "a", "boot-3") == done
    with pytest.raises(ServiceError):
        await calls.finish(play.session, "none", status=ToolStatus.ERROR, content=[])


async def test_text_that_databases_cannot_hold_is_replaced(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    done = await play.store.calls.finish(
        play.session, "a", status=ToolStatus.SUCCESS, content=["a\0b\ud800c \N{GRINNING FACE}"]
    )
    assert done.content == ("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c 😀",)
    start = await play.store.turns.begin_step(play.session, "i1", 1)
    await play.store.turns.append(play.session, "i1", 1, start.attempt, 0, piece("\0\\u0000"))
    (delta,) = [event.payload for event in await play.events() if event.step == 1]
    assert delta == Delta(pieces=tuple(piece("\N{REPLACEMENT CHARACTER}\\u0000")))


async def test_what_is_kept_has_bounds(play: Play) -> None:
    await play.open("i1")
    turns = play.store.turns
    start = await turns.begin_step(play.session, "i1", 0)
    with pytest.raises(TooLarge):
        await turns.append(
            play.session, "i1", 0, start.attempt, 0, piece("x" * (MAX_DELTA_BYTES + 1))
        )
    with pytest.raises(TooLarge):
        await turns.commit_step(
            play.session,
            "i1",
            0,
            start.attempt,
            message=reply(text="x" * MAX_MESSAGE_BYTES),
            calls=(),
            usage=USAGE,
            latency_ms=1,
            model_id="demo/echo",
        )
    await play.commit("i1", 0, start.attempt, sandbox("a"))
    with pytest.raises(TooLarge):
        await play.store.calls.finish(
            play.session, "a", status=ToolStatus.SUCCESS, content=["x" * (MAX_OUTCOME_BYTES + 1)]
        )


async def test_a_window_holds_the_newest_messages_in_order(play: Play) -> None:
    await play.open("i1")
    for step in range(3):
        await play.step("i1", step)
    window = await play.store.transcript.window(play.session, upto_seq=3, limit=2)
    assert [stored.seq for stored in window] == [2, 3]
    assert {stored.invocation_id for stored in window} == {"i1"}
    with pytest.raises(ServiceError, match="message 9"):
        await play.store.transcript.message(play.session, 9)
