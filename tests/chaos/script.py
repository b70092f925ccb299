"""What a chaos run does, all of it from one seed: who says what, and who is killed when."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: Processes that may die in every run.
PROCESSES = ("worker", "api", "sandbox-host", "temporal")
#: What ends environments; a command that ran in one has an unknown outcome, and says so.
ENVIRONMENTS = ("agentd", "environment")
#: Seconds between two deaths; the longest recovery is a heartbeat's and a sticky queue's time-out.
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
#: Of the deaths, those that come to processes which all serve; the others may come on top.
CALM = 0.6
#: Each session's file of effects, on its own volume.
EFFECTS = "effects"

House = Literal["plain", "votes", "budget", "agents", "late-yes", "late-no"]
Kind = Literal[
    "steps", "together", "count", "caller", "inbox", "cancel", "command", "votes", "budget",
    "agent", "deadline",
]  # fmt: skip
#: The harnesses that sessions are divided among, one after the other.
HOUSES: tuple[House, ...] = (
    "plain", "votes", "budget", "agents", "late-yes", "plain", "late-no", "plain",
)  # fmt: skip
KINDS: dict[House, tuple[Kind, ...]] = {
    "plain": ("steps", "together", "count", "caller", "inbox", "cancel", "command"),
    "votes": ("votes",),
    "budget": ("budget",),
    "agents": ("agent",),
    "late-yes": ("deadline",),
    "late-no": ("deadline",),
}
#: Who may vote where votes are asked for, and how many must agree.
VOTERS, REQUIRED = ("ada", "bob", "cleo"), 2


@dataclass(frozen=True)
class Turn:
    """A message, and what must have come of it.

    Attributes:
        name: SEED-SESSION-TURN; its effects begin with it.
        kind: what the session's user does.
        text: what the user says; the command itself where a command runs beside turns.
        effects: the lines that its commands append, in this order unless they run together.
        happens: whether they are appended: each once, never, or at most once (None).
        counts: how far the model counts at the end; 0 when it does not.
        votes: who votes what, until the decision is taken.
        pause_s: seconds until the user cancels.
    """

    name: str
    kind: Kind
    text: str
    effects: tuple[str, ...]
    happens: bool | None = True
    counts: int = 0
    votes: tuple[tuple[str, Literal["approve", "reject"]], ...] = ()
    pause_s: float = 0.0


@dataclass(frozen=True)
class Talk:
    """A session's turns, and the harness that it is of."""

    house: House
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Death:
    """A kill with -9, so many seconds after the one before it.

    Attributes:
        victim: of `PROCESSES` or `ENVIRONMENTS`.
        pause_s: seconds.
        calm: whether they count from when every process serves again, so that sessions get on.
        which: of several victims the one at this part of the list, from 0 to 1.
    """

    victim: str
    pause_s: float
    calm: bool
    which: float


@dataclass(frozen=True)
class Script:
    """A whole run.

    Attributes:
        seed: what it was made from.
        victims: who may die.
        talks: of each session.
        deaths: as many as fit into the run's time.
    """

    seed: int
    victims: tuple[str, ...]
    talks: tuple[Talk, ...]
    deaths: tuple[Death, ...]


def write_script(seed: int, *, sessions: int, turns: int, deaths: int) -> Script:
    """Make a run; the same numbers make the same run.

    Args:
        seed: any whole number; with odd ones environments die, too.
        sessions: how many talk at the same time.
        turns: messages in each.
        deaths: how many are killed.
    """
    chance = random.Random(seed)
    talks = tuple(
        _talk(chance, HOUSES[session % len(HOUSES)], f"{seed}-{session}", turns)
        for session in range(sessions)
    )
    fate = random.Random(f"{seed} deaths")
    victims = (*PROCESSES, *ENVIRONMENTS) if seed % 2 else PROCESSES
    return Script(seed, victims, talks, _deaths(fate, victims, deaths))


def _deaths(fate: random.Random, victims: Sequence[str], count: int) -> tuple[Death, ...]:
    return tuple(
        Death(
            fate.choice(victims),
            fate.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S),
            fate.random() < CALM,
            fate.random(),
        )
        for _ in range(count)
    )


def _talk(chance: random.Random, house: House, session: str, turns: int) -> Talk:
    # A user's turns are of different kinds for as long as there are any.
    kinds = chance.sample(KINDS[house], len(KINDS[house]))
    return Talk(
        house,
        tuple(
            _turn(chance, house, kinds[number % len(kinds)], f"{session}-{number}")
            for number in range(turns)
        ),
    )


def _turn(chance: random.Random, house: House, kind: Kind, name: str) -> Turn:
    most = {"steps": 4, "together": 4, "count": 4, "budget": 4}.get(kind, 2)
    effects = tuple(f"{name}-{number}" for number in range(chance.randint(1, most)))
    commands = [
        f"`echo {effect} >> {EFFECTS}; sleep {chance.choice(('0', '0.2', '0.7'))}`"
        for effect in effects
    ]
    steps = " ".join(f"Run the shell command {command}." for command in commands)
    match kind:
        case "together":
            text = f"Run the shell commands {' and '.join(commands)} in parallel."
            return Turn(name, kind, text, effects)
        case "count":
            far = chance.randint(5, 60)
            return Turn(name, kind, f"{steps} Count to {far}", effects, counts=far)
        case "caller" | "inbox":
            return Turn(name, kind, f"Ask for approval of {name}. {steps}", effects)
        case "cancel":
            command = f"echo {effects[0]} >> {EFFECTS}; sleep {_endless(name)}"
            text = f"Run the shell command `{command}`."
            pause_s = chance.uniform(0, 2)
            return Turn(name, kind, text, effects[:1], happens=None, pause_s=pause_s)
        case "command":
            text = f"echo {effects[0]} >> {EFFECTS}; sleep 0.5; echo {name} is done"
            return Turn(name, kind, text, effects[:1])
        case "votes":
            votes = _votes(chance)
            happens = all(verdict == "approve" for _, verdict in votes)
            steps = f"Run the shell command {commands[0]}."
            return Turn(name, kind, steps, effects[:1], happens=happens, votes=votes)
        case "deadline":
            steps = f"Run the shell command {commands[0]}."
            return Turn(name, kind, steps, effects[:1], happens=house == "late-yes")
        case "steps" | "budget" | "agent":
            return Turn(name, kind, steps, effects)


def _votes(chance: random.Random) -> tuple[tuple[str, Literal["approve", "reject"]], ...]:
    voters = chance.sample(VOTERS, len(VOTERS))
    if chance.random() < 0.3:
        votes: list[tuple[str, Literal["approve", "reject"]]] = [
            (voter, "approve") for voter in voters[: chance.randrange(REQUIRED)]
        ]
        return (*votes, (voters[-1], "reject"))
    return tuple((voter, "approve") for voter in voters[:REQUIRED])


def _endless(name: str) -> str:
    """Seconds of a sleep that nobody waits for, different in each turn so that it can be found."""
    return f"86400.{name.replace('-', '0')}"


def sleeps(turn: Turn) -> str:
    """The command line of the process that a cancelled turn must not leave."""
    return f"sleep {_endless(turn.name)}"
