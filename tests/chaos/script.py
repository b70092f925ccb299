"""What a chaos run does, all of it from one seed: who says what, and who is killed when."""

import random
from dataclasses import dataclass

#: Who may die. Environments are not among them: what ran in one that dies has an unknown outcome.
VICTIMS = ("worker", "api", "sandbox-host", "temporal")
#: Seconds between two deaths; the longest recovery is a heartbeat's and a sticky queue's time-out.
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
#: Each session's file of effects, on its own volume.
EFFECTS = "effects"


@dataclass(frozen=True)
class Turn:
    """A message, and what must have come of it.

    Attributes:
        text: what the user says.
        effects: the lines that its commands append, in this order unless `together`.
        together: whether its commands run at the same time.
        counts: how far the model counts at the end; 0 when it does not.
        approval: whether it asks a person before its commands.
        inbox: whether that person answers by the inbox, and not by the next call.
    """

    text: str
    effects: tuple[str, ...] = ()
    together: bool = False
    counts: int = 0
    approval: bool = False
    inbox: bool = False


@dataclass(frozen=True)
class Death:
    """A process that is killed with -9, so many seconds after the death before it."""

    victim: str
    pause_s: float


@dataclass(frozen=True)
class Script:
    """A whole run.

    Attributes:
        seed: what it was made from.
        sessions: the turns of each session.
        deaths: as many as fit into the run's time.
    """

    seed: int
    sessions: tuple[tuple[Turn, ...], ...]
    deaths: tuple[Death, ...]


def write_script(seed: int, *, sessions: int, turns: int, deaths: int) -> Script:
    """Make a run; the same numbers make the same run.

    Args:
        seed: any whole number.
        sessions: how many talk at the same time.
        turns: messages in each.
        deaths: how many processes are killed.
    """
    chance = random.Random(seed)
    talks = tuple(
        tuple(_turn(chance, f"{session}.{number}") for number in range(turns))
        for session in range(sessions)
    )
    fate = random.Random(f"{seed} deaths")
    killed = tuple(
        Death(fate.choice(VICTIMS), fate.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S))
        for _ in range(deaths)
    )
    return Script(seed, talks, killed)


def _turn(chance: random.Random, name: str) -> Turn:
    effects = tuple(f"{name}.{number}" for number in range(chance.randint(1, 4)))
    commands = [
        f"`echo {effect} >> {EFFECTS}; sleep {chance.choice(('0', '0.2', '0.7'))}`"
        for effect in effects
    ]
    kind = chance.choice(("steps", "together", "count", "approval"))
    if kind == "together":
        return Turn(f"Run the shell commands {' and '.join(commands)} in parallel.", effects, True)
    steps = " ".join(f"Run the shell command {command}." for command in commands)
    if kind == "count":
        far = chance.randint(5, 60)
        return Turn(f"{steps} Count to {far}", effects, counts=far)
    if kind == "approval":
        inbox = chance.random() < 0.5
        return Turn(f"Ask for approval of {name}. {steps}", effects, approval=True, inbox=inbox)
    return Turn(steps, effects)
