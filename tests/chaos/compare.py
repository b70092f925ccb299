"""After a chaos run: what the files have, beside what the transcripts say and the script wants."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from contracts.agents import agent_session_id
from contracts.ids import HarnessArn, session_key
from everloop.sessions import Sessions
from tests.chaos.script import EFFECTS, ENVIRONMENTS, House, Script, Turn
from tests.chaos.user import User, stubbornly
from tests.e2e.stack import Frame, Stack


class Told(StrEnum):
    """What became of a command, in the words of its result."""

    DONE = "done"
    NOT_RUN = "not run"
    UNKNOWN = "unknown"


#: Of results that are not those of a command that ended by itself.
_NOT_RUN = ("was not run:", "The call was not run.", "Rejected")


def compare(
    stack: Stack, script: Script, users: Sequence[User], houses: Mapping[House, str]
) -> tuple[int, list[str]]:
    """Compare all effects.

    Args:
        stack: on which the run was.
        script: what was to happen; where environments died, a command may be unknown.
        users: after their last words.
        houses: the harnesses.

    Returns:
        How many effects there are, and what is not as it must be.
    """
    lines = [line for path in stack.volume_files(EFFECTS) for line in path.read_text().split()]
    mortal = any(victim in ENVIRONMENTS for victim in script.victims)
    faults: list[str] = []
    known = {effect for user in users for turn in user.talk.turns for effect in turn.effects}
    for user in users:
        if not user.finished:
            # What it began may still go on; that it did not finish is a fault already.
            continue
        told = {effect: Told.UNKNOWN for effect in user.unknown}
        try:
            told |= _told(stack, user, houses["plain"])
        except AssertionError as error:
            faults.append(f"{user.session}: {error}")
            continue
        for turn in user.talk.turns:
            faults += _faults(turn, lines, told, mortal=mortal)
    mine = [line for line in lines if line.startswith(f"{script.seed}-")]
    faults += [f"nobody asked for {line}" for line in mine if line not in known]
    return len(mine), faults


def _faults(
    turn: Turn, lines: Sequence[str], told: Mapping[str, Told], *, mortal: bool
) -> Iterator[str]:
    counted = Counter(line for line in lines if line in turn.effects)
    for effect in turn.effects:
        times, said = counted[effect], told.get(effect)
        if turn.kind == "command" and said is None:
            said = Told.DONE
        right = {Told.DONE: times == 1, Told.NOT_RUN: times == 0, Told.UNKNOWN: times <= 1}
        if said is not None and not right[said]:
            yield f"{effect} is there {times} times and was told to be {said}"
        elif turn.happens is None:
            if times > 1:
                yield f"{effect} of a cancelled turn is there {times} times"
        elif not turn.happens and said is not Told.NOT_RUN:
            yield f"{effect} must not happen and was told to be {said}"
        elif turn.happens and said is not Told.DONE and not (mortal and said is not None):
            yield f"{effect} must happen and was told to be {said}"
    there = [line for line in lines if line in turn.effects]
    if turn.kind != "together" and there != sorted(there, key=turn.effects.index):
        yield f"{turn.name}: effects in the order {there}"


def _told(stack: Stack, user: User, agents: str) -> dict[str, Told]:
    """What the transcripts of a session, and of its agents' sessions, say of each effect."""
    harness = HarnessArn.parse(user.arn)
    key = session_key(harness.account, harness.harness_id, user.session)
    messages = _transcript(stack, user.harness_id, user.session)
    told = dict(_outcomes(messages))
    for use in _blocks(messages, "toolUse"):
        if use["name"] == "helper":
            place = agent_session_id(key, use["toolUseId"])
            told |= _outcomes(_transcript(stack, agents.rpartition("/")[2], place))
    return told


def _transcript(stack: Stack, harness_id: str, session: str) -> list[Frame]:
    return stubbornly(
        lambda: list(Sessions.at(stack.endpoint).transcript(harness_id, session)),
        f"the transcript of {session} cannot be read",
    )


def _outcomes(messages: Sequence[Frame]) -> Iterator[tuple[str, Told]]:
    """Each effect that was called for, and what its result says.

    Raises:
        AssertionError: a call has no result, or two.
    """
    results = list(_blocks(messages, "toolResult"))
    texts = {each["toolUseId"]: each["content"][0]["text"] for each in results}
    uses = list(_blocks(messages, "toolUse"))
    asked, answered = [each["toolUseId"] for each in uses], [e["toolUseId"] for e in results]
    if asked != sorted(answered, key=asked.index):
        raise AssertionError(f"calls {asked} have the results {answered}")
    for use in uses:
        command = use["input"].get("command", "")
        if f">> {EFFECTS}" in command:
            yield command.split()[1], _outcome(texts[use["toolUseId"]])


def _outcome(text: str) -> Told:
    try:
        if json.loads(text)["exit_code"] == 0:
            return Told.DONE
    except ValueError:
        if any(words in text for words in _NOT_RUN):
            return Told.NOT_RUN
    return Told.UNKNOWN


def _blocks(messages: Iterable[Frame], kind: str) -> Iterator[Frame]:
    for message in messages:
        for block in message["content"]:
            if kind in block:
                yield block[kind]
