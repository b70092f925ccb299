"""A chaos run: sessions talk while processes die; at the end everything must be as if none had."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.compare import compare
from tests.chaos.evidence import keep
from tests.chaos.houses import build
from tests.chaos.script import ENVIRONMENTS, PROCESSES, Death, Script
from tests.chaos.user import User
from tests.e2e.stack import Stack

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        deaths: the names of the killed, in order.
        turns: turns that ended as they must.
        effects: effects that there are.
        decided: decisions that were taken once, in turns of each kind.
        seconds: how long it took.
        faults: what was not as it must be; empty when all is well.
    """

    deaths: list[str] = field(default_factory=list[str])
    turns: int = 0
    effects: int = 0
    decided: Counter[str] = field(default_factory=Counter[str])
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list[str])


def play(stack: Stack, script: Script, tell: Say, evidence: Path) -> Outcome:
    """Let all sessions talk, kill as the script says, and compare what came of it.

    Args:
        stack: a running Everloop of `houses.everloop`.
        script: what happens.
        tell: hears of each death and each fault as it happens.
        evidence: gets a directory for each session that has a fault.
    """
    outcome = Outcome()
    houses = build(stack)
    users = [
        User(stack, houses[talk.house], script.seed, number, talk)
        for number, talk in enumerate(script.talks)
    ]
    began = time.monotonic()
    over = threading.Event()
    with ThreadPoolExecutor(len(users) + 1) as pool:
        killer = pool.submit(_kill, stack, script, over, outcome, tell)
        talks = [(user, pool.submit(_talk, user, stack, evidence, tell)) for user in users]
        for number, (user, talk) in enumerate(talks):
            _gather(number, user, talk, outcome)
        over.set()
        killer.result()
    outcome.effects, faults = compare(stack, script, users, houses)
    for number, user in enumerate(users):
        names = (user.session, f"{script.seed}-{number}-")
        if any(name in fault for fault in faults for name in names):
            _keep(user, stack, evidence, tell)
    outcome.faults += faults
    outcome.seconds = time.monotonic() - began
    return outcome


def _talk(user: User, stack: Stack, evidence: Path, tell: Say) -> None:
    try:
        user.run()
    except Exception as error:
        tell(f"{user.session}: {error!r}")
        # At once: what it waits for may come later.
        _keep(user, stack, evidence, tell)
        raise


def _keep(user: User, stack: Stack, evidence: Path, tell: Say) -> None:
    try:
        keep(stack, evidence / user.session, user.arn, user.session)
    except Exception as error:
        tell(f"{user.session}: what is known of it could not be kept: {error!r}")


def _gather(number: int, user: User, talk: "Future[None]", outcome: Outcome) -> None:
    try:
        talk.result()
    except Exception as error:
        outcome.faults.append(f"session {number} ({user.session}): {error!r}")
    else:
        outcome.turns += len(user.talk.turns)
        outcome.decided += user.decided


def _kill(stack: Stack, script: Script, over: threading.Event, outcome: Outcome, tell: Say) -> None:
    for death in script.deaths:
        if death.calm:
            for process in PROCESSES:
                stack.wait_ready(process)
        if over.wait(death.pause_s) and set(PROCESSES) <= set(outcome.deaths):
            return
        if _dies(stack, death):
            outcome.deaths.append(death.victim)
            tell(f"killed {death.victim}")


def _dies(stack: Stack, death: Death) -> bool:
    if death.victim in ENVIRONMENTS:
        return stack.kill_environment(death.which, agentd=death.victim == "agentd")
    # Whoever is not back from the last death dies at once when it is; the order stays.
    stack.wait_ready(death.victim)
    stack.kill(death.victim)
    return True
