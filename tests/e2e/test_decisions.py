"""People decide about tool calls: nothing runs before, everything runs once after."""

import asyncio
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError
from temporalio.client import Client

from contracts.decisions import NewVote, Principal, VerdictKind
from contracts.ids import HarnessArn, session_key
from everloop.inbox import Inbox
from store import Store
from tests.e2e.people import (
    Json,
    Refused,
    gated,
    own,
    resumed,
    vote,
    waiting,
)
from tests.e2e.stack import APPROVAL, Stack, answer, new_session, say, wait_until

ASK = {"tools": ["shell"], "action": "ask"}


def lines(stack: Stack, name: str) -> list[str]:
    found = stack.volume_files(name)
    return found[0].read_text().split() if found else []


def ask(stack: Stack, arn: str, session: str, name: str) -> Json:
    """A gated command that writes a line; the decision about it."""
    told = stack.invoke(arn, session, say(f"Run the shell command `echo ran >> {name}`"))
    assert told.stops == ["tool_use"]
    (decision,) = waiting(stack, session)
    assert decision["toolUseId"] == told.tool_uses[-1]["toolUseId"]
    assert lines(stack, name) == []
    return decision


def test_a_gated_command_stops_before_it_runs_and_runs_once_when_approved(stack: Stack) -> None:
    arn, session = gated(stack, ASK), new_session()
    decision = ask(stack, arn, session, "approved.txt")
    assert decision["arguments"] == {"command": "echo ran >> approved.txt"}
    after = vote(stack, decision, "approve", reason="it is Friday")
    assert (after["status"], after["decidedBy"]) == ("approved", "ada")
    assert resumed(stack, arn, session, decision)["stopReason"] == "end_turn"
    assert lines(stack, "approved.txt") == ["ran"]
    told = stack.invoke(arn, session, say("Count to 2"))
    assert told.stop_reason == "end_turn"


def test_a_rejection_is_read_by_the_model_and_nothing_runs(stack: Stack) -> None:
    arn, session = gated(stack, ASK), new_session()
    decision = ask(stack, arn, session, "rejected.txt")
    assert vote(stack, decision, "reject", reason="too dear")["status"] == "rejected"
    resumed(stack, arn, session, decision)
    assert lines(stack, "rejected.txt") == []
    assert "too dear" in transcript(stack, arn, session)


def test_edited_arguments_fit_the_schema_and_are_what_runs(stack: Stack) -> None:
    arn, session = gated(stack, ASK), new_session()
    decision = ask(stack, arn, session, "edited.txt")
    with pytest.raises(Refused, match="schema") as refused:
        vote(stack, decision, "approve", arguments={"command": 7})
    assert refused.value.error == "ValidationException"
    edit = {"command": "echo changed >> edited.txt"}
    after = vote(stack, decision, "approve", arguments=edit)
    assert after["proposedArguments"] == decision["arguments"]
    assert (after["arguments"], after["revision"]) == (edit, 2)
    resumed(stack, arn, session, decision)
    assert lines(stack, "edited.txt") == ["changed"]
    assert "arguments were changed" in transcript(stack, arn, session)


def test_two_of_three_people_must_agree_on_the_same_arguments(stack: Stack) -> None:
    rule = {**ASK, "deciders": {"users": ["ada", "bob"], "roles": ["ops"]}, "required": 2}
    arn, session = gated(stack, rule), new_session()
    decision = ask(stack, arn, session, "two.txt")
    with pytest.raises(Refused, match="eve may not") as stranger:
        vote(stack, decision, "approve", user="eve", roles="finance")
    assert stranger.value.status == 403
    assert vote(stack, decision, "approve")["agreed"] == ["ada"]
    with pytest.raises(Refused, match="agreed already"):
        vote(stack, decision, "approve")
    edit = {"command": "echo two >> two.txt"}
    edited = vote(stack, decision, "approve", user="bob", arguments=edit)
    assert (edited["status"], edited["agreed"]) == ("open", ["bob"])
    with pytest.raises(Refused, match="no longer") as stale:
        vote(stack, decision, "approve", user="cleo", roles="ops")
    assert (stale.value.status, stale.value.error) == (409, "ConflictException")
    assert vote(stack, edited, "approve", user="cleo", roles="ops")["status"] == "approved"
    resumed(stack, arn, session, decision)
    assert lines(stack, "two.txt") == ["two"]
    with pytest.raises(Refused, match="approved by cleo"):
        vote(stack, edited, "reject", user="ada")


def test_deadlines_reject_approve_and_escalate(stack: Stack) -> None:
    late: Json = {**ASK, "deadlineSeconds": 1}
    escalates = {
        **late,
        "deciders": {"users": ["ada"]},
        "onTimeout": "escalate",
        "escalateTo": {"deciders": {"roles": ["boss"]}, "deadlineSeconds": 60},
    }
    rules = {"reject": late, "approve": {**late, "onTimeout": "approve"}, "escalate": escalates}
    asked: dict[str, tuple[str, str, Json]] = {}
    for name, rule in rules.items():
        arn, session = gated(stack, rule), new_session()
        asked[name] = (arn, session, ask(stack, arn, session, f"late-{name}.txt"))

    def now(name: str) -> Json:
        return own(stack, "GET", f"decisions/{asked[name][2]['decisionId']}")["decision"]

    for name, status in (("reject", "expired"), ("approve", "approved")):
        resumed(stack, *asked[name])
        assert (now(name)["status"], now(name)["decidedBy"]) == (status, "everloop:deadline")
    assert lines(stack, "late-reject.txt") == []
    assert lines(stack, "late-approve.txt") == ["ran"]

    wait_until(lambda: now("escalate")["escalated"], what="it was not escalated")
    decision = now("escalate")
    assert (decision["status"], decision["deciders"]) == ("open", {"users": [], "roles": ["boss"]})
    with pytest.raises(Refused, match="role boss"):
        vote(stack, decision, "approve")
    vote(stack, decision, "approve", user="dan", roles="boss")
    resumed(stack, *asked["escalate"])
    assert lines(stack, "late-escalate.txt") == ["ran"]


def test_an_inline_function_is_answered_by_a_person_or_by_its_caller(stack: Stack) -> None:
    arn, session = stack.harness(tools=[APPROVAL]), new_session()
    stack.invoke(arn, session, say("Ask for approval to ship"))
    (decision,) = waiting(stack, session)
    vote(stack, decision, "answer", answer="yes, ship it")
    resumed(stack, arn, session, decision)
    assert "yes, ship it" in transcript(stack, arn, session)

    told = stack.invoke(arn, session, say("Ask for approval to paint"))
    (decision,) = waiting(stack, session)
    stack.invoke(arn, session, answer((told.tool_uses[0]["toolUseId"], "yes")))
    with pytest.raises(Refused, match="answered by a toolResult") as late:
        vote(stack, decision, "approve")
    assert late.value.error == "ConflictException"


def test_of_two_doors_exactly_one_lets_somebody_in(stack: Stack) -> None:
    arn = gated(stack, ASK)
    won = {"person": 0, "caller": 0}
    for number in range(4):
        session, name = new_session(), f"race{number}.txt"
        decision = ask(stack, arn, session, name)
        outcomes: dict[str, Any] = {}
        gate = threading.Barrier(2)

        def through(door: str, act: Callable[[], Any], outcomes: Any, gate: Any) -> None:
            gate.wait()
            try:
                outcomes[door] = act()
            except (ClientError, Refused) as error:
                outcomes[door] = error

        result = answer((decision["toolUseId"], "done elsewhere"))
        doors = {
            "person": partial(vote, stack, decision, "approve"),
            "caller": partial(stack.invoke, arn, session, result),
        }
        threads = [
            threading.Thread(target=through, args=(door, act, outcomes, gate))
            for door, act in doors.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        (winner,) = [door for door, found in outcomes.items() if not isinstance(found, Exception)]
        won[winner] += 1
        if winner == "person":
            refusal = outcomes["caller"].response["Error"]
            assert refusal["Code"] == "ValidationException"
            assert decision["toolUseId"] in refusal["Message"]
            assert "approved by ada" in refusal["Message"]
            resumed(stack, arn, session, decision)
        else:
            assert outcomes["person"].error == "ConflictException"
            assert "toolResult" in str(outcomes["person"])
        assert lines(stack, name) == (["ran"] if winner == "person" else [])
    assert sum(won.values()) == 4


def test_the_same_vote_id_has_the_same_answer(stack: Stack) -> None:
    arn, session = gated(stack, {**ASK, "required": 2}), new_session()
    decision = ask(stack, arn, session, "same.txt")
    first = vote(stack, decision, "approve", voteId="mine")
    again = vote(stack, decision, "approve", voteId="mine")
    assert first == again
    with pytest.raises(Refused, match="used before"):
        vote(stack, decision, "reject", voteId="mine")


def test_the_command_line_shows_what_waits_and_decides(stack: Stack) -> None:
    rule = {**ASK, "deciders": {"roles": ["cli"]}, "deadlineSeconds": 3600, "name": "all commands"}
    arn, session = gated(stack, rule), new_session()
    decision = ask(stack, arn, session, "cli.txt")
    name = decision["decisionId"]
    shown = stack.everloop("inbox", "--role", "cli").stdout
    for words in (name, "shell", "echo ran >> cli.txt", "role cli", "all commands", "reject in"):
        assert words in shown
    mine = stack.everloop("inbox", "--mine", "--as", "dan", "--as-role", "cli", "--json").stdout
    assert name in [each["decisionId"] for each in json.loads(mine)["decisions"]]
    one = stack.everloop("inbox", "--role", "cli", "--max-results", "1")
    assert "--next-token" not in one.stderr, "there is one of that role"
    refused = stack.everloop("decide", name, "approve", "--as", "dan")
    assert refused.returncode == 1 and "AccessDeniedException" in refused.stderr
    dan = ("--as", "dan", "--as-role", "cli")
    stale = stack.everloop("decide", name, "approve", *dan, "--digest", "0" * 64)
    assert stale.returncode == 1 and "ConflictException" in stale.stderr
    edit = json.dumps({"command": "echo edited >> cli.txt"})
    done = stack.everloop("decide", name, "approve", *dan, "--edit", edit, "--reason", "fine")
    assert (done.returncode, done.stdout) == (0, f"{name}: approved\n"), done.stderr
    resumed(stack, arn, session, decision)
    assert lines(stack, "cli.txt") == ["edited"]
    whole = stack.everloop("inbox", name).stdout
    for words in ("approved by dan", "dan: approve: fine", "echo edited", "echo ran", session):
        assert words in whole
    known = own(stack, "GET", f"decisions/{name}")["decision"]
    for member in ("digest", "requestedAt", "dueAt", "decidedAt", "invocationId", "toolUseId"):
        assert known[member] in whole
    for words in (f"then {known['onTimeout']}", f"as invocation {known['resumedBy']}"):
        assert words in whole
    assert json.loads(stack.everloop("inbox", name, "--json").stdout) == {"decision": known}
    tried = stack.everloop(
        "approvals", "test", arn, "shell", "--arguments", '{"command": "ls"}'
    ).stdout
    assert tried.startswith("ask @builtin/shell: rule 0 (all commands)")


def test_the_python_client_decides(stack: Stack) -> None:
    arn, session = gated(stack, ASK), new_session()
    ask(stack, arn, session, "python.txt")
    inbox = Inbox.at(stack.endpoint, user="ada")
    found = inbox.list(mine=True, harness_id=arn.split("/")[1])
    (decision,) = [each for each in found if each["runtimeSessionId"] == session]
    assert inbox.reject(decision, reason="no")["status"] == "rejected"
    assert inbox.get(decision["decisionId"])["votes"][0]["reason"] == "no"


@pytest.fixture
def fragile(new_stack: Callable[..., Stack]) -> Stack:
    return new_stack(EVERLOOP_PARK_S="3")


def test_no_crash_loses_a_decision_or_repeats_its_effect(fragile: Stack) -> None:
    stack = fragile
    arn = gated(stack, ASK)

    # 1. The vote is committed, and the worker gone before the workflow hears of it.
    session = new_session()
    decision = ask(stack, arn, session, "lost.txt")
    key = session_key(HarnessArn.parse(arn).account, HarnessArn.parse(arn).harness_id, session)
    commit_vote(stack, key, decision)
    stack.kill("worker")
    assert resumed(stack, arn, session, decision)["stopReason"] == "end_turn"
    assert lines(stack, "lost.txt") == ["ran"]

    stack.wait_ready("worker")
    # 2. The run has parked for its time and completed: a late vote starts a new one.
    session = new_session()
    decision = ask(stack, arn, session, "late.txt")
    wait_until(lambda: open_runs(stack, session) == 0, what="the run did not complete")
    vote(stack, decision, "approve")
    resumed(stack, arn, session, decision)
    assert lines(stack, "late.txt") == ["ran"]


def test_temporal_shows_what_waits_for_whom(stack: Stack) -> None:
    rule = {**ASK, "deciders": {"users": ["ada"], "roles": ["finance"]}}
    arn, session = gated(stack, rule), new_session()
    decision = ask(stack, arn, session, "shown.txt")

    async def found(query: str) -> list[str]:
        client = await Client.connect(stack.temporal)
        return [run.id async for run in client.list_workflows(query)]

    query = "EverloopWaitingFor = 'role:finance' AND EverloopWaitingTools = 'shell'"
    still = f"{query} AND ExecutionStatus = 'Running'"
    wait_until(lambda: any(session in each for each in asyncio.run(found(still))))
    vote(stack, decision, "reject")
    resumed(stack, arn, session, decision)
    wait_until(lambda: not any(session in each for each in asyncio.run(found(still))))


def open_runs(stack: Stack, session: str) -> int:
    async def count() -> int:
        client = await Client.connect(stack.temporal)
        found = client.list_workflows("ExecutionStatus = 'Running'")
        return len([run async for run in found if run.id.endswith(session)])

    return asyncio.run(count())


def commit_vote(stack: Stack, session: str, decision: Json) -> None:
    """What the activity commits, without a workflow that learns of it."""

    async def commit() -> None:
        store = await Store.open(stack.database_url)
        try:
            new = NewVote("committed", decision["digest"], VerdictKind.APPROVE)
            name = decision["decisionId"]
            await store.decisions.cast("000000000000", name, new, Principal("ada"))
            await store.decisions.count(session, name, "committed")
        finally:
            await store.close()

    asyncio.run(commit())


def transcript(stack: Stack, arn: str, session: str) -> str:
    async def read() -> str:
        store = await Store.open(stack.database_url)
        harness = HarnessArn.parse(arn)
        key = session_key(harness.account, harness.harness_id, session)
        try:
            found = await store.transcript.window(key, upto_seq=10**6, limit=None)
        finally:
            await store.close()
        return json.dumps([each.message.model_dump(mode="json") for each in found])

    return asyncio.run(read())
