"""The inbox and the dry run over HTTP: what is shown, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.approvals import Deciders, Terms
from contracts.decisions import CastVote, Gate
from contracts.errors import AwsError, ServiceError
from everloop.inbox import Inbox
from store import migrate
from tests.api.live import Live, live_server
from tests.api.raw import RawAnswer, call
from tests.store.play import Play, sandbox

INBOX = "/everloop/v1/decisions"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        yield server


async def send(live: Live, method: str, path: str, body: Any = None, **headers: str) -> RawAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await asyncio.to_thread(call, live.port, method, path, body, named)


async def asked(live: Live, **terms: Any) -> dict[str, Any]:
    """A waiting call; its decision as the inbox shows it."""
    play = await Play.begin(live.store)
    gate = Gate(terms=Terms(**terms), parameters={"type": "object"})
    await play.ask_person("i1", replace(sandbox("risky"), gate=gate))
    listed = (await send(live, "GET", INBOX)).json["decisions"]
    return listed[-1]


async def test_the_inbox_lists_and_shows(live: Live):
    decision = await asked(live, deciders=Deciders(users=("ada",)), required=1)
    assert decision["tool"] == "shell"
    assert decision["arguments"] == {"command": "risky"}
    assert decision["deciders"] == {"users": ["ada"], "roles": []}
    mine = await send(live, "GET", f"{INBOX}?mine=true", x_everloop_user="ada")
    assert [each["decisionId"] for each in mine.json["decisions"]] == [decision["decisionId"]]
    theirs = await send(live, "GET", f"{INBOX}?mine=true", x_everloop_user="eve")
    assert theirs.json == {"decisions": []}
    whole = (await send(live, "GET", f"{INBOX}/{decision['decisionId']}")).json["decision"]
    assert (whole["votes"], whole["agreed"], whole["resumedBy"]) == ([], [], None)
    assert {name: whole[name] for name in decision} == decision
    assert set(whole) == {
        *("decisionId", "status", "harnessId", "harnessVersion", "runtimeSessionId", "rootSession"),
        *("invocationId", "toolUseId", "tool", "runBy", "proposedArguments", "arguments", "digest"),
        *("revision", "rule", "deciders", "required", "onTimeout", "escalated", "requestedAt"),
        *("dueAt", "decidedAt", "decidedBy", "votes", "agreed", "resumedBy"),
    }


async def test_a_list_leaves_out_long_arguments(live: Live):
    play = await Play.begin(live.store)
    await play.ask_person("i1", replace(sandbox("x" * 5000), gate=Gate()))
    (listed,) = (await send(live, "GET", INBOX)).json["decisions"]
    assert listed["arguments"] is None
    whole = (await send(live, "GET", f"{INBOX}/{listed['decisionId']}")).json["decision"]
    assert whole["arguments"] == {"command": "x" * 5000}


async def test_pages_follow_each_other(live: Live):
    for _ in range(3):
        await asked(live)
    first = (await send(live, "GET", f"{INBOX}?maxResults=2")).json
    rest = await send(live, "GET", f"{INBOX}?maxResults=2&nextToken={first['nextToken']}")
    ids = [each["decisionId"] for each in [*first["decisions"], *rest.json["decisions"]]]
    assert len(set(ids)) == 3 and "nextToken" not in rest.json

    def in_python() -> list[str]:
        inbox = Inbox.at(f"http://127.0.0.1:{live.port}")
        assert inbox.page({"status": "open"}, max_results=2) == first
        again = inbox.page(next_token=first["nextToken"])
        assert again["decisions"] == rest.json["decisions"]
        return [each["decisionId"] for each in inbox.list()]

    assert await asyncio.to_thread(in_python) == ids


async def test_a_vote_that_cannot_be_delivered_is_delivered_when_it_is_repeated(live: Live):
    decision = await asked(live)
    path = f"{INBOX}/{decision['decisionId']}/votes"
    body = {"decision": "approve", "digest": decision["digest"], "voteId": "v1"}

    async def unavailable(session: str, vote: CastVote) -> None:
        raise ServiceError(AwsError.INTERNAL, "Temporal is unavailable.")

    async def counts(session: str, vote: CastVote) -> None:
        await live.store.decisions.count(session, vote.decision_id, vote.vote_id)

    live.sessions.decide = unavailable  # type: ignore[method-assign]
    assert (await send(live, "POST", path, body, x_everloop_user="ada")).status == 500
    live.sessions.decide = counts  # type: ignore[method-assign]
    told = (await send(live, "POST", path, body, x_everloop_user="ada")).json["decision"]
    assert (told["status"], told["resumedBy"]) == ("approved", f"decided-{decision['decisionId']}")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        (f"{INBOX}?status=maybe", 400, "status"),
        (f"{INBOX}?mine=perhaps", 400, "mine"),
        (f"{INBOX}?maxResults=101", 400, "maxResults"),
        (f"{INBOX}?olderThanSeconds=-1", 400, "olderThanSeconds"),
        (f"{INBOX}?nextToken=nonsense", 400, "nextToken"),
        (f"{INBOX}?surprise=1", 400, "surprise"),
        (f"{INBOX}/dec-unknown", 404, "dec-unknown"),
    ],
)
async def test_what_cannot_be_asked_is_refused(live: Live, path: str, status: int, says: str):
    refused = await send(live, "GET", path)
    assert refused.status == status
    assert says in refused.json["message"]


async def test_votes_of_the_wrong_form_are_refused(live: Live):
    decision = await asked(live)
    path = f"{INBOX}/{decision['decisionId']}/votes"
    good = {"decision": "approve", "digest": decision["digest"]}
    mistakes: list[dict[str, Any]] = [
        {"decision": "maybe"},
        {"surprise": 1},
        {"voteId": "a b"},
        {"digest": ""},
        {"reason": "x" * 2001},
        {"arguments": []},
        {"answer": "no answer to an approval"},
    ]
    for wrong in mistakes:
        refused = await send(live, "POST", path, {**good, **wrong})
        assert (refused.status, refused.error) == (400, "ValidationException"), wrong
    unnamed = await send(live, "POST", path, good, x_everloop_user="two words")
    assert "x-everloop-user" in unnamed.json["message"]


async def test_the_dry_run_says_which_rule_decides_and_why(live: Live):
    harness_id = (await live.harness()).split("/")[1]
    rules = [
        {"tools": ["@bank/*"], "action": "deny"},
        {
            "tools": ["shell"],
            "when": [{"path": "/command", "operator": "matches", "value": "^rm"}],
            "action": "ask",
            "name": "deletes",
            "deciders": {"roles": ["ops"]},
        },
    ]
    base = f"/everloop/v1/harnesses/{harness_id}"
    put = await send(live, "PUT", f"{base}/extensions", {"approvals": {"rules": rules}})
    assert put.status == 200

    async def run(**body: Any) -> Any:
        return (await send(live, "POST", f"{base}/approvals/dry-run", body)).json

    deletes = await run(tool="shell", arguments={"command": "rm x"})
    assert (deletes["action"], deletes["name"], deletes["rule"]) == ("ask", "deletes", 1)
    assert deletes["terms"]["deciders"]["roles"] == ["ops"]
    assert deletes["offered"] is True
    assert (await run(tool="shel"))["offered"] is False
    lists = await run(tool="shell", arguments={"command": "ls"})
    assert lists["action"] == "allow"
    assert "/command matches" in lists["trace"][1]["why"]
    assert (await run(tool="@bank/pay"))["action"] == "deny"
    assert (await run(tool="shell", destructive=True, approvals={"rules": []}))["action"] == "ask"
    assert "namespace" not in (await run(tool="a/b"))
    assert (await run(tool="shell", surprise=1))["fieldList"]


async def test_what_is_wrong_with_rules_is_said_in_words_of_ours(live: Live):
    path = f"/everloop/v1/harnesses/{(await live.harness()).split('/')[1]}/extensions"

    async def refused(**rule: Any) -> str:
        rules = [{"tools": ["shell"], "action": "ask", **rule}]
        answer = await send(live, "PUT", path, {"approvals": {"rules": rules}})
        assert answer.status == 400
        return answer.json["message"]

    again = {"deciders": {"users": ["bob"]}, "deadlineSeconds": 1, "onTimeout": "escalate"}
    escalates = {"deadlineSeconds": 1, "onTimeout": "escalate"}
    at = "approvals.rules.0"
    assert await refused(**escalates) == (
        f"{at}: escalateTo goes with onTimeout escalate, and only with it"
    )
    nobody = await refused(**escalates, escalateTo={"deciders": {}})
    assert nobody == f"{at}.escalateTo: deciders must name a user or a role"
    twice = await refused(**escalates, escalateTo=again)
    assert twice == f"{at}.escalateTo.onTimeout: Input should be 'reject' or 'approve'"
    pattern = await refused(tools=["a/b/c"])
    assert pattern.startswith(f"{at}.tools.0: String should match pattern") and ";" not in pattern


async def test_a_late_tool_result_on_a_busy_session_learns_how_it_was_decided(live: Live):
    arn = await live.harness()
    play = await Play.begin(live.store)
    session = play.session.rpartition(":")[2]
    harness_id = arn.split("/")[1]
    key = f"session:000000000000:{harness_id}:{session}"
    play = replace(play, session=key)
    await play.ask_person("i1", replace(sandbox("risky"), gate=Gate()))
    decision = (await send(live, "GET", INBOX)).json["decisions"][0]

    async def counts(session: str, vote: CastVote) -> None:
        await live.store.decisions.count(session, vote.decision_id, vote.vote_id)

    live.sessions.decide = counts  # type: ignore[method-assign]
    body = {"decision": "approve", "digest": decision["digest"]}
    path = f"{INBOX}/{decision['decisionId']}/votes"
    assert (await send(live, "POST", path, body, x_everloop_user="ada")).status == 200
    live.sessions.refusal = ServiceError(AwsError.THROTTLING, "busy")
    result = {"toolUseId": "risky", "content": [{"text": "done"}], "status": "success"}
    with pytest.raises(live.data.exceptions.ValidationException, match="approved by ada"):
        await live.invoke(arn, {"toolResult": result}, runtimeSessionId=session)


async def test_no_caller_uses_an_id_of_resumed_turns(live: Live):
    arn = await live.harness()
    refused = await send(
        live,
        "POST",
        f"/harnesses/invoke?harnessArn={arn.replace(':', '%3A').replace('/', '%2F')}",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        **{
            "x-everloop-invocation-id": "decided-dec-1",
            "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "s" * 33,
        },
    )
    assert refused.status == 400
    assert "decided-" in refused.json["message"]
