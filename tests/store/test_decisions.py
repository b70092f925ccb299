"""Decisions in the store: who may, how many, what an edit changes, who is first."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from contracts.approvals import Approvals, Deciders, Terms
from contracts.decisions import (
    RESUME_PREFIX,
    DecisionRecord,
    DecisionStatus,
    Gate,
    NewVote,
    Principal,
    VerdictKind,
)
from contracts.errors import AwsError, ServiceError
from contracts.events import EventKind
from contracts.extensions import HarnessExtensions
from contracts.messages import StopReason
from contracts.records import InvocationState, NewCall
from contracts.tools import CallState
from store import Store
from store.inbox import InboxFilter
from tests.store.play import ACCOUNT, CONFIG, HARNESS, RUN, Play, answers, inline, sandbox, says

ADA, BOB, EVE = Principal("ada"), Principal("bob"), Principal("eve", ("finance",))
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
_numbers = count()


def asks(name: str, **terms: Any) -> NewCall:
    gate = Gate(terms=Terms(**terms), rule="rule 0", namespace="builtin", parameters=SCHEMA)
    return replace(sandbox(name), gate=gate)


def says_yes(decision: DecisionRecord, **more: Any) -> NewVote:
    vote_id = f"vote{next(_numbers)}"
    return NewVote(vote_id, decision.digest, VerdictKind.APPROVE, **more)


async def opened(play: Play) -> list[DecisionRecord]:
    found, _ = await play.store.decisions.list(ACCOUNT, InboxFilter(), limit=100, after=None)
    return [each for each in found if each.session == play.session]


async def send(
    play: Play, decision: DecisionRecord, vote: NewVote, who: Principal
) -> DecisionRecord:
    """Cast and count; the decision afterwards."""
    await play.store.decisions.cast(ACCOUNT, decision.id, vote, who)
    await play.store.decisions.count(play.session, decision.id, vote.vote_id)
    return await play.store.decisions.get(ACCOUNT, decision.id)


async def refused(
    play: Play, decision: DecisionRecord, vote: NewVote, who: Principal
) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        await play.store.decisions.cast(ACCOUNT, decision.id, vote, who)
    return error.value


async def test_a_gated_call_waits_and_runs_in_the_resumed_turn(play: Play) -> None:
    await play.ask_person("i1", sandbox("before"), asks("risky"), sandbox("after"))
    (decision,) = await opened(play)
    assert (decision.tool_use_id, decision.harness_id) == ("risky", HARNESS)
    after = await send(play, decision, says_yes(decision), ADA)
    assert (after.status, after.decided_by) == (DecisionStatus.APPROVED, "ada")
    standing = await play.store.decisions.standing(play.session)
    assert standing.resume and standing.resume.invocation_id == f"{RESUME_PREFIX}{decision.id}"
    opening = await play.store.turns.open(play.session, standing.resume.invocation_id)
    assert (opening.state, opening.waiting) == (InvocationState.OPEN, False)
    assert [call.id for call in opening.todo] == ["before", "risky", "after"]
    assert [call.runner for call in opening.todo] == ["sandbox-local"] * 3
    assert not (await play.store.decisions.standing(play.session)).waiting


async def test_a_resumed_turn_is_owed_until_its_first_model_call(play: Play) -> None:
    await play.ask_person("i1", asks("risky"))
    (decision,) = await opened(play)
    await send(play, decision, says_yes(decision), ADA)
    decisions, turns = play.store.decisions, play.store.turns

    async def owed() -> list[bool]:
        found = await decisions.owed(late_s=0)
        return [each.opened for each in found if each.session == play.session]

    first = (await decisions.standing(play.session)).resume
    assert first is not None and await owed() == [False]
    await turns.open(play.session, first.invocation_id)
    # Its workflow may have died before Temporal heard of it.
    assert (await decisions.standing(play.session)).resume == first
    assert await owed() == [True]
    assert await turns.may_be_lost(play.session, first.invocation_id)
    await play.store.calls.start(play.session, "risky", "boot")
    again = await turns.open(play.session, first.invocation_id)
    assert [call.id for call in again.todo] == ["risky"], "a call that was begun is joined"
    await play.finish("risky")
    await turns.begin_step(play.session, first.invocation_id, 0)
    assert (await decisions.standing(play.session)).resume is None
    assert not await owed()
    assert not await turns.may_be_lost(play.session, first.invocation_id)


async def test_people_who_are_quicker_than_the_end_of_the_turn_lose_nothing(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, asks("risky"), asks("other"))
    await play.store.turns.hand_over(play.session, "i1")
    one, other = await opened(play)
    await send(play, one, says_yes(one), ADA)
    await send(play, other, NewVote("v", other.digest, VerdictKind.REJECT, "no"), ADA)
    await play.close("i1", StopReason.TOOL_USE)
    standing = await play.store.decisions.standing(play.session)
    assert standing.resume
    opening = await play.store.turns.open(play.session, standing.resume.invocation_id)
    approved = one.tool_use_id
    assert [call.id for call in opening.todo] == [approved]
    rejected = await play.store.calls.get(play.session, other.tool_use_id)
    assert "Rejected by ada: no" in rejected.content[0]


async def test_new_text_before_the_turn_resumes_runs_the_decided_calls_too(play: Play) -> None:
    await play.ask_person("i1", asks("risky"))
    (decision,) = await opened(play)
    await send(play, decision, says_yes(decision), ADA)
    opening = await play.open("i2", says("and hurry"))
    assert [call.id for call in opening.todo] == ["risky"]
    await play.finish("risky")
    await play.store.turns.begin_step(play.session, "i2", 0)
    newest = (await play.messages())[-1]
    assert [block.type for block in newest.blocks] == ["tool_result", "text"]
    await play.close("i2")
    late = await play.store.turns.open(play.session, f"{RESUME_PREFIX}{decision.id}")
    assert late.state is InvocationState.REFUSED
    assert (await play.store.decisions.standing(play.session)).resume is None


async def test_a_turn_that_ends_otherwise_withdraws_what_it_asked(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, asks("risky"))
    await play.store.turns.hand_over(play.session, "i1")
    (decision,) = await opened(play)
    await play.close("i1", StopReason.TIMEOUT_EXCEEDED)
    error = await refused(play, decision, says_yes(decision), ADA)
    assert error.detail.error is AwsError.CONFLICT
    assert "was withdrawn" in error.detail.message
    call = await play.store.calls.get(play.session, "risky")
    assert call.state is CallState.DONE


async def test_votes_of_two_different_people_on_the_same_arguments(play: Play) -> None:
    deciders = Deciders(users=("ada", "bob"), roles=("finance",))
    await play.ask_person("i1", asks("risky", deciders=deciders, required=2))
    (decision,) = await opened(play)
    stranger = await refused(play, decision, says_yes(decision), Principal("mallory", ("ops",)))
    assert stranger.detail.error is AwsError.ACCESS_DENIED
    assert (await send(play, decision, says_yes(decision), ADA)).status is DecisionStatus.OPEN
    assert "already" in (await refused(play, decision, says_yes(decision), ADA)).detail.message
    edited = await send(play, decision, says_yes(decision, arguments={"command": "b"}), BOB)
    assert (edited.revision, edited.status) == (2, DecisionStatus.OPEN)
    stale = await refused(play, edited, says_yes(decision), EVE)
    assert stale.detail.error is AwsError.CONFLICT and edited.digest in stale.detail.message
    done = await send(play, edited, says_yes(edited), EVE)
    assert done.status is DecisionStatus.APPROVED
    call = await play.store.calls.get(play.session, "risky")
    assert (call.input, call.digest) == ({"command": "b"}, edited.digest)


async def test_an_edit_there_and_back_does_not_revive_old_votes(play: Play) -> None:
    await play.ask_person("i1", asks("risky", required=2))
    (first,) = await opened(play)
    await send(play, first, says_yes(first), ADA)
    second = await send(play, first, says_yes(first, arguments={"command": "b"}), BOB)
    back = await send(play, second, says_yes(second, arguments=first.arguments), BOB)
    assert (back.digest, back.status) == (first.digest, DecisionStatus.OPEN)


async def test_nobody_gets_past_a_rule_by_editing(store: Store) -> None:
    def when(operator: str, value: str) -> list[dict[str, str]]:
        return [{"path": "/command", "operator": operator, "value": value}]

    approvals = Approvals.model_validate(
        {
            "rules": [
                {"tools": ["shell"], "action": "deny", "when": when("equals", "rm")},
                {
                    "tools": ["shell"],
                    "action": "ask",
                    "name": "deploys",
                    "when": when("matches", "^deploy"),
                    "deciders": {"users": ["bob"]},
                },
                {"tools": ["shell"], "action": "ask", "name": "rest"},
            ]
        }
    )
    config = CONFIG.model_copy(update={"extensions": HarnessExtensions(approvals=approvals)})
    digest = await store.configs.put(RUN.model_copy(update={"config": config}))
    play = replace(await Play.begin(store), config_digest=digest)
    await play.ask_person("i1", asks("risky"))
    (decision,) = await opened(play)
    denied = says_yes(decision, arguments={"command": "rm"})
    assert "never runs" in (await refused(play, decision, denied, ADA)).detail.message
    other = says_yes(decision, arguments={"command": "deploy"})
    assert (await refused(play, decision, other, ADA)).detail.error is AwsError.ACCESS_DENIED
    after = await send(play, decision, other, BOB)
    assert (after.status, after.gate.rule) == (DecisionStatus.APPROVED, "deploys")


async def test_what_fits_no_call_is_refused(play: Play) -> None:
    await play.ask_person("i1", asks("risky"), inline("ask"), inline("two"))
    risky, ask = sorted(await opened(play), key=lambda each: each.tool, reverse=True)[:2]
    for decision, vote in [
        (risky, NewVote("a", risky.digest, VerdictKind.ANSWER, answer="done")),
        (risky, NewVote("b", risky.digest, VerdictKind.ANSWER)),
        (risky, NewVote("c", risky.digest, VerdictKind.REJECT, arguments={"command": "x"})),
        (risky, says_yes(risky, arguments={"command": 7})),
        (ask, says_yes(ask, arguments={"what": "x"})),
        (risky, says_yes(risky, reason="x" * 2001)),
    ]:
        error = await refused(play, decision, vote, ADA)
        assert error.detail.error is AwsError.VALIDATION


async def test_an_inline_call_is_approved_rejected_or_answered(play: Play) -> None:
    await play.ask_person("i1", inline("x"), inline("y"), inline("z"))
    x, y, z = sorted(await opened(play), key=lambda each: each.tool_use_id)
    await send(play, x, says_yes(x, reason="fine"), ADA)
    await send(play, y, NewVote("r", y.digest, VerdictKind.REJECT), ADA)
    await send(play, z, NewVote("s", z.digest, VerdictKind.ANSWER, answer="42"), ADA)
    told = [(await play.store.calls.get(play.session, name)).content[0] for name in "xyz"]
    assert told[0] == '{"approved": true, "by": "ada", "reason": "fine"}'
    assert told[1].startswith("Rejected by ada")
    assert told[2] == "42"


async def test_deadlines(play: Play) -> None:
    await play.ask_person(
        "i1",
        asks("no", deadline_seconds=1),
        asks("yes", deadline_seconds=1, on_timeout="approve"),
    )
    due = (await play.store.decisions.standing(play.session)).due_s
    assert due is not None
    await asyncio.sleep(max(0.0, due - datetime.now(UTC).timestamp()) + 0.01)
    late = next(each for each in await opened(play) if each.tool_use_id == "no")
    assert [each.session for each in await play.store.decisions.owed(late_s=0)] == [
        play.session,
        play.session,
    ]
    counted = await send(play, late, says_yes(late), ADA)
    assert (counted.status, counted.decided_by) == (DecisionStatus.EXPIRED, "everloop:deadline")
    assert counted.votes[0].refusal is not None
    await play.store.decisions.expire(play.session)
    standing = await play.store.decisions.standing(play.session)
    assert not standing.waiting and standing.resume
    opening = await play.store.turns.open(play.session, standing.resume.invocation_id)
    assert [call.id for call in opening.todo] == ["yes"]


async def test_of_both_doors_at_once_exactly_one_is_first(store: Store) -> None:
    for _ in range(25):
        play = await Play.begin(store)
        await play.ask_person("i1", asks("risky"))
        (decision,) = await opened(play)
        vote = says_yes(decision)
        await store.decisions.cast(ACCOUNT, decision.id, vote, ADA)
        await play.admit("i2", answers(("risky", "done elsewhere")))
        await asyncio.gather(
            store.decisions.count(play.session, decision.id, vote.vote_id),
            store.turns.open(play.session, "i2"),
        )
        after = await store.decisions.get(ACCOUNT, decision.id)
        second = await store.turns.invocation(play.session, "i2")
        assert second is not None
        if after.status is DecisionStatus.APPROVED:
            assert second.state is InvocationState.REFUSED and second.error is not None
            assert "was approved by ada" in second.error.message
        else:
            assert after.status is DecisionStatus.ANSWERED
            assert second.state is InvocationState.OPEN
            assert after.votes[0].refusal is not None
            assert "answered by a toolResult" in after.votes[0].refusal.message


async def test_the_inbox_filters_and_pages(store: Store) -> None:
    plays = [await Play.begin(store) for _ in range(5)]
    for number, play in enumerate(plays):
        deciders = Deciders(users=("ada",)) if number % 2 else Deciders(roles=("finance",))
        await play.ask_person("i1", asks("risky", deciders=deciders))

    async def sessions(wanted: InboxFilter) -> list[str]:
        found: list[str] = []
        after = None
        while True:
            page, after = await store.decisions.list(ACCOUNT, wanted, limit=2, after=after)
            assert len(page) <= 2
            found += [each.session for each in page]
            if after is None:
                return found

    every = [play.session for play in plays]
    assert await sessions(InboxFilter()) == every
    assert await sessions(InboxFilter(who=ADA)) == every[1::2]
    assert await sessions(InboxFilter(who=EVE)) == every[0::2]
    assert await sessions(InboxFilter(role="finance")) == every[0::2]
    assert await sessions(InboxFilter(user="ada")) == every[1::2]
    one = f"{HARNESS}/{every[1].rpartition(':')[2]}"
    assert await sessions(InboxFilter(root_session=one)) == every[1:2]
    assert await sessions(InboxFilter(root_session=f"other-abcdefghij/{one}")) == []
    assert await sessions(InboxFilter(harness_id=HARNESS)) == every
    assert await sessions(InboxFilter(harness_id="other-abcdefghij")) == []
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    assert await sessions(InboxFilter(before=long_ago)) == []
    for play in plays[:3]:
        (decision,) = await opened(play)
        verdict = NewVote("v", decision.digest, VerdictKind.REJECT)
        who = Principal("ada", ("finance",))
        await send(play, decision, verdict, who)
    assert await sessions(InboxFilter()) == every[3:]
    assert await sessions(InboxFilter(status=DecisionStatus.REJECTED)) == every[2::-1]
    with pytest.raises(ServiceError):
        await store.decisions.list(ACCOUNT, InboxFilter(), limit=2, after="nonsense")
    with pytest.raises(ServiceError):
        await store.decisions.get("111111111111", (await opened(plays[3]))[0].id)


async def test_the_caller_sees_which_calls_wait(play: Play) -> None:
    await play.ask_person("i1", asks("risky"))
    assert EventKind.END in await play.kinds("i1")
    assert [call.id for call in await play.store.calls.pending(play.session)] == ["risky"]
    opening = await play.open("i2", says("never mind"))
    assert opening.state is InvocationState.REFUSED
