"""A chaos run: sessions talk while processes die; at the end everything must be as if none had."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from everloop.cli.errors import CommandError
from everloop.inbox import Inbox
from everloop.sessions import Sessions
from tests.chaos.script import EFFECTS, VICTIMS, Script, Turn
from tests.e2e.stack import APPROVAL, Frame, Stack, Told, answer, say

Say = Callable[[str], None]
T = TypeVar("T")
#: Longer than any recovery takes.
PATIENCE_S = 90.0


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        deaths: the names of the killed, in order.
        turns: turns that ended as they must.
        effects: effects that were counted, each once.
        approvals: approvals that were applied, each once.
        seconds: how long it took.
        faults: what was not as it must be; empty when all is well.
    """

    deaths: list[str] = field(default_factory=list[str])
    turns: int = 0
    effects: int = 0
    approvals: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list[str])


def play(stack: Stack, script: Script, tell: Say) -> Outcome:
    """Let all sessions talk, kill as the script says, and compare what came of it.

    Args:
        stack: a running Everloop that nobody else uses.
        script: what happens.
        tell: hears of each death and each fault as it happens.
    """
    outcome = Outcome()
    began = time.monotonic()
    arn = stack.harness(tools=[APPROVAL])
    over = threading.Event()
    with ThreadPoolExecutor(len(script.sessions) + 1) as pool:
        killer = pool.submit(_kill, stack, script, over, outcome, tell)
        talks = [
            pool.submit(_Talk(stack, arn, script.seed, number, turns).run)
            for number, turns in enumerate(script.sessions)
        ]
        for number, talk in enumerate(talks):
            _gather(number, talk, outcome, tell)
        over.set()
        killer.result()
    _compare_effects(stack, script, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _gather(number: int, talk: "Future[tuple[int, int]]", outcome: Outcome, tell: Say) -> None:
    try:
        turns, approvals = talk.result()
    except Exception as error:
        outcome.faults.append(f"session {number}: {error!r}")
        tell(outcome.faults[-1])
    else:
        outcome.turns += turns
        outcome.approvals += approvals


def _kill(stack: Stack, script: Script, over: threading.Event, outcome: Outcome, tell: Say) -> None:
    for death in script.deaths:
        if over.wait(death.pause_s) and set(outcome.deaths) == set(VICTIMS):
            return
        # Whoever is not back from the last death dies at once when it is; the order stays.
        stack.wait_ready(death.victim)
        stack.kill(death.victim)
        outcome.deaths.append(death.victim)
        tell(f"killed {death.victim}")


class _Talk:
    """One session's user: stubborn, and suspicious of every stream."""

    def __init__(
        self, stack: Stack, arn: str, seed: int, number: int, turns: tuple[Turn, ...]
    ) -> None:
        self._stack = stack
        self._arn = arn
        digest = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
        self._session = f"chaos-{digest[:40]}"
        self._turns = turns

    def run(self) -> tuple[int, int]:
        """Turns that ended, and approvals that were given."""
        approvals = 0
        for number, turn in enumerate(self._turns):
            told = self._say(f"turn-{number}", say(turn.text))
            if turn.approval:
                (use,) = told.tool_uses
                _require(told.stops == ["tool_use"], f"stopped by {told.stops}")
                approvals += 1
                if turn.inbox:
                    self._decide(use["toolUseId"])
                    continue
                told = self._say(f"answer-{number}", answer((use["toolUseId"], "yes")))
            self._check(turn, told)
        return len(self._turns), approvals

    def _say(self, key: str, messages: list[Frame]) -> Told:
        """Send until a whole stream has come; then again, when it must be the same."""
        told = self._stack.follow(self._arn, self._session, messages, key=key)
        again = self._stack.follow(self._arn, self._session, messages, key=key)
        _require(
            _settled(told) == _settled(again),
            f"{key}: two readers were told different things: {_settled(told)} {_settled(again)}",
        )
        return told

    def _decide(self, tool_use_id: str) -> None:
        """Approve a call by the inbox, and wait until the turn that this resumes has ended."""
        harness_id = self._arn.rpartition("/")[2]

        def approved() -> str | None:
            inbox = Inbox.at(self._stack.endpoint)
            for status in ("open", "approved"):
                for each in inbox.list(status=status, harness_id=harness_id):
                    if (each["runtimeSessionId"], each["toolUseId"]) == (
                        self._session,
                        tool_use_id,
                    ):
                        return (inbox.approve(each) if status == "open" else each)["decisionId"]
            return None

        def ended() -> Frame | None:
            sessions = Sessions.at(self._stack.endpoint)
            for each in sessions.invocations(harness_id, self._session):
                if each["invocationId"] == f"decided-{decision}" and each.get("stopReason"):
                    return each
            return None

        decision = _stubbornly(approved, f"{tool_use_id} was not approved")
        told = _stubbornly(ended, f"the turn that {decision} resumes did not end")
        _require(told["stopReason"] == "end_turn", f"resumed and stopped by {told}")

    def _check(self, turn: Turn, told: Told) -> None:
        _require(told.stop_reason == "end_turn", f"stopped by {told.stop_reason}: {turn.text}")
        if turn.counts:
            counted = told.text.split()[-turn.counts :]
            _require(
                counted == [str(n) for n in range(1, turn.counts + 1)],
                f"counted {counted} instead of to {turn.counts}",
            )


def _stubbornly(ask: Callable[[], T | None], otherwise: str) -> T:
    """Ask until there is an answer, whoever dies meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(CommandError):
            answered = ask()
            if answered is not None:
                return answered
        time.sleep(0.1)
    raise AssertionError(otherwise)


def _settled(told: Told) -> list[tuple[str, str, str]]:
    """What a stream says without the attempts that died."""
    return [each for each in told.messages if each[1] != "interrupted"]


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def _compare_effects(stack: Stack, script: Script, outcome: Outcome) -> None:
    found = {path.read_text() for path in stack.volume_files(EFFECTS)}
    by_session = {text.split(".", 1)[0]: text.split() for text in found if text}
    for number, turns in enumerate(script.sessions):
        lines = by_session.get(str(number), [])
        at = 0
        for turn in turns:
            given = lines[at : at + len(turn.effects)]
            same = (
                sorted(given) == sorted(turn.effects)
                if turn.together
                else (tuple(given) == turn.effects)
            )
            if not same:
                outcome.faults.append(f"session {number}: effects {given}, not {turn.effects}")
            at += len(turn.effects)
        if len(lines) != at:
            outcome.faults.append(f"session {number}: {len(lines)} effects instead of {at}")
        outcome.effects += len(lines)
