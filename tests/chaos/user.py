"""A session's user in a chaos run: stubborn, and suspicious of every stream."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any, TypeVar

from everloop.cli.errors import CommandError
from everloop.inbox import Inbox
from everloop.sessions import Sessions
from tests.chaos.houses import MORE_TOKENS
from tests.chaos.script import Talk, Turn, sleeps
from tests.e2e.commands import Ran, run
from tests.e2e.people import Refused, own, vote
from tests.e2e.stack import Frame, Stack, Told, answer, commands_like, say, wait_until

T = TypeVar("T")
#: Longer than any recovery takes, on a busy machine and after several deaths.
PATIENCE_S = 240.0
#: What a turn stops for until people have decided.
_WAITS = ("tool_use", "partial_turn")
_DEADLINE = "everloop:deadline"
#: How a message closes that a later attempt begins anew.
_RETRACTED = "interrupted"


class User:
    """Talks in one session by the script.

    Attributes:
        arn: the harness's.
        session: the session's id.
        decided: how many decisions were taken in turns of each kind.
        finished: whether every turn ended as it must.
        unknown: effects of commands beside turns that were told to have an unknown outcome.
    """

    def __init__(self, stack: Stack, arn: str, seed: int, number: int, talk: Talk) -> None:
        """Say nothing yet."""
        self._stack = stack
        self.arn = arn
        self.harness_id = arn.rpartition("/")[2]
        digest = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
        self.session = f"chaos-{digest[:40]}"
        self.talk = talk
        self.decided: Counter[str] = Counter()
        self.finished = False
        self.unknown: set[str] = set()
        self._handled: set[str] = set()

    def run(self) -> None:
        """Have every turn.

        Raises:
            AssertionError: something was not as it must be.
        """
        for turn in self.talk.turns:
            match turn.kind:
                case "command":
                    self._command(turn)
                case "cancel":
                    self._cancel(turn)
                case "inbox" | "votes" | "deadline" | "budget":
                    self._through_people(turn)
                case _:
                    self._turn(turn)
        self.finished = True

    def _turn(self, turn: Turn) -> None:
        told = self._say(turn.name, say(turn.text))
        if turn.kind == "caller":
            stops = [stop for stop in told.stops if stop != _RETRACTED]
            require(stops == ["tool_use"], f"{turn.name} stopped by {told.stops}")
            self.decided[turn.kind] += 1
            # Those before it are of attempts that died.
            use = told.tool_uses[-1]
            told = self._say(f"answer-{turn.name}", answer((use["toolUseId"], "yes")))
        require(told.stop_reason == "end_turn", f"{turn.name} stopped by {told.stop_reason}")
        if turn.counts:
            counted = told.text.split()[-turn.counts :]
            require(
                counted == [str(n) for n in range(1, turn.counts + 1)],
                f"{turn.name} counted {counted} instead of to {turn.counts}",
            )

    def _say(self, key: str, messages: list[Frame]) -> Told:
        """Send until a whole stream has come; then again, when it must be the same."""
        told = self._follow(messages, key)
        again = self._follow(messages, key)
        require(
            _settled(told) == _settled(again),
            f"{key}: two readers were told different things: {_settled(told)} {_settled(again)}",
        )
        return told

    def _follow(self, messages: list[Frame], key: str) -> Told:
        return self._stack.follow(self.arn, self.session, messages, key=key, patience_s=PATIENCE_S)

    def _through_people(self, turn: Turn) -> None:
        """Decide, or let the deadline decide, until the turn has ended."""
        stop = self._say(turn.name, say(turn.text)).stop_reason
        while stop in _WAITS:
            decision = stubbornly(self._new_decision, f"{turn.name}: nothing is to be decided")
            self._handled.add(decision["decisionId"])
            self._decide(turn, decision)
            ended = stubbornly(
                lambda name=decision["decisionId"]: self._resumed(name),
                f"{turn.name}: the turn that {decision['decisionId']} resumes did not end",
            )
            self._check_decision(turn, decision["decisionId"])
            require(not ended.get("error"), f"{turn.name}: resumed and failed: {ended}")
            stop = ended["stopReason"]
        require(stop == "end_turn", f"{turn.name}: resumed and stopped by {stop}")

    def _new_decision(self) -> Frame | None:
        inbox = Inbox.at(self._stack.endpoint)
        for status in ("open", "approved", "rejected", "expired"):
            for each in inbox.list(status=status, harness_id=self.harness_id):
                if each["runtimeSessionId"] == self.session:
                    if each["decisionId"] not in self._handled:
                        return each
        return None

    def _decide(self, turn: Turn, decision: Frame) -> None:
        match turn.kind:
            case "inbox":
                self._vote(turn, decision, "ada", "approve")
            case "budget":
                more = {"addTokens": MORE_TOKENS}
                self._vote(turn, decision, "ada", "approve", arguments=more)
            case "votes":
                for user, verdict in turn.votes:
                    self._vote(turn, decision, user, verdict)
            case _:
                pass

    def _vote(self, turn: Turn, decision: Frame, user: str, verdict: str, **more: Any) -> None:
        def voted() -> Frame | None:
            try:
                name = f"{decision['decisionId']}-{user}"
                return vote(self._stack, decision, verdict, user=user, voteId=name, **more)
            except Refused as refused:
                if refused.status < 500 and refused.error != "ThrottlingException":
                    raise
            return None

        stubbornly(voted, f"{turn.name}: {user} could not vote")

    def _check_decision(self, turn: Turn, name: str) -> None:
        found = stubbornly(
            lambda: own(self._stack, "GET", f"decisions/{name}")["decision"],
            f"{turn.name}: {name} cannot be read",
        )
        voters = [each["decider"] for each in found["votes"]]
        if turn.kind == "deadline":
            must = ("approved" if turn.happens else "expired", _DEADLINE, list[str]())
        elif turn.kind == "votes":
            users = [user for user, _ in turn.votes]
            must = ("approved" if turn.happens else "rejected", users[-1], users)
        else:
            must = ("approved", "ada", ["ada"])
        is_so = (found["status"], found["decidedBy"], voters)
        require(is_so == must, f"{turn.name}: {name} was {is_so} and not {must}")
        self.decided[turn.kind] += 1

    def _resumed(self, decision_id: str) -> Frame | None:
        sessions = Sessions.at(self._stack.endpoint)
        for each in sessions.invocations(self.harness_id, self.session):
            if each["invocationId"] == f"decided-{decision_id}":
                return each if each.get("stopReason") or each.get("error") else None
        return None

    def _cancel(self, turn: Turn) -> None:
        with ThreadPoolExecutor(1) as aside:
            saying = aside.submit(self._say, turn.name, say(turn.text))
            time.sleep(turn.pause_s)
            ended = stubbornly(
                lambda: Sessions.at(self._stack.endpoint).cancel(
                    self.harness_id, self.session, turn.name
                ),
                f"{turn.name} cannot be cancelled",
            )
            told = saying.result()
        require(ended["stopReason"] == "interrupted", f"{turn.name} cancelled and {ended}")
        require(told.stop_reason == "interrupted", f"{turn.name} stopped by {told.stop_reason}")
        wait_until(lambda: not commands_like(sleeps(turn)), what=f"{turn.name} still runs")

    def _command(self, turn: Turn) -> None:
        """Run a command beside turns; once it has a result, it has that result for ever."""
        for _ in range(2):
            ran = stubbornly(lambda: self._ran(turn), f"{turn.name} did not come to its end")
            if ran is _UNKNOWN:
                self.unknown.update(turn.effects)
                continue
            came = (ran.text(), ran.stop)
            must = (f"{turn.name} is done\n", {"exitCode": 0, "status": "COMPLETED"})
            require(came == must, f"{turn.name} came to {came}")
            require(not self.unknown & set(turn.effects), f"{turn.name} was unknown and is known")

    def _ran(self, turn: Turn) -> Ran | None:
        try:
            ran = run(self._stack, self.arn, self.session, turn.text, key=turn.name)
        except Exception as error:
            # Whatever boto3 makes of a cut connection.
            return _UNKNOWN if "outcome is unknown" in str(error) else None
        return ran if ran.chunks and "contentStop" in ran.chunks[-1] else None


_UNKNOWN = Ran()


def stubbornly(ask: Callable[[], T | None], otherwise: str) -> T:
    """Ask until there is an answer, whoever dies meanwhile.

    Raises:
        AssertionError: there was none in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            answered = ask()
            if answered is not None:
                return answered
        except (CommandError, OSError, HTTPException, ValueError) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{otherwise}: {last!r}")


def require(condition: bool, otherwise: str) -> None:
    """Raise an AssertionError with these words unless the condition holds."""
    if not condition:
        raise AssertionError(otherwise)


def _settled(told: Told) -> list[tuple[str, str, str]]:
    """What a stream says without the attempts that died."""
    return [each for each in told.messages if each[1] != _RETRACTED]
