"""A decision as the command line shows it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from everloop.cli.output import harmless

if TYPE_CHECKING:
    from everloop.cli.own_api import Json

_UNIT_S = {"d": 86400, "h": 3600, "m": 60}


def describe(decision: "Json") -> str:
    """A decision for a person, without what would steer a terminal.

    Args:
        decision: as the API gives it. A whole one, which has its votes, is shown whole.
    """
    d = decision
    lines = [f"{d['decisionId']}  {d['tool']}  {_state(d)}"]
    lines.append(
        f"  of {d['harnessId']} version {d['harnessVersion']}, session {d['runtimeSessionId']}"
    )
    if d.get("rootSession"):
        lines.append(f"  for session {d['rootSession']}, whose agents called it")
    who = _who(d["deciders"])
    rule = f", by {d['rule']}" if d.get("rule") else ""
    more = f"; {d['required']} must agree" if d["required"] > 1 else ""
    agreed = f", so far {', '.join(d['agreed'])}" if d.get("agreed") else ""
    passed = "; the first deadline has passed" if d["escalated"] else ""
    lines.append(f"  decided by {who}{rule}{more}{agreed}{passed}")
    if "votes" in d:
        lines += _details(d)
    if d["arguments"] is None:
        lines.append("  (long arguments: everloop inbox ID shows them)")
    else:
        lines += [f"  {line}" for line in _arguments(d["arguments"])]
    if d.get("proposedArguments", d["arguments"]) != d["arguments"]:
        lines += ["  edited; the model asked for:"]
        lines += [f"    {line}" for line in _arguments(d["proposedArguments"])]
    return harmless("\n".join(lines))


def _details(d: "Json") -> Iterator[str]:
    yield f"  call {d['toolUseId']} of invocation {d['invocationId']}, run by {d['runBy']}"
    yield f"  asked for at {d['requestedAt']}"
    if d["dueAt"] is not None:
        yield f"  due at {d['dueAt']}, then {_then(d)}"
    if d["decidedAt"] is not None:
        yield f"  decided at {d['decidedAt']}"
    if d["resumedBy"] is not None:
        yield f"  goes on as invocation {d['resumedBy']}"
    yield f"  digest {d['digest']}"
    for vote in d["votes"]:
        why = f": {' '.join(vote['reason'].split())}" if vote["reason"] else ""
        not_so = f" (did not count: {vote['refusal']})" if vote["refusal"] else ""
        yield f"  {vote['at']} {vote['decider']}: {vote['decision']}{why}{not_so}"
        if vote["arguments"] is not None:
            yield from (f"    {line}" for line in _arguments(vote["arguments"]))
        if vote["answer"] is not None:
            yield from (f"    {line}" for line in vote["answer"].splitlines())


def _then(d: "Json") -> str:
    """What the deadline does."""
    to = d.get("escalateTo")
    if to is None:
        return d["onTimeout"]
    span = to.get("deadlineSeconds")
    last = f", then {to['onTimeout']} after {_span(timedelta(seconds=span))}" if span else ""
    return f"{d['onTimeout']} to {_who(to['deciders'])}{last}"


def _state(d: "Json") -> str:
    if d["status"] != "open":
        by = f" by {d['decidedBy']}" if d["decidedBy"] else ""
        return f"{d['status']}{by}"
    waited = f"waits for {_span(datetime.now(UTC) - _time(d['requestedAt']))}"
    if d["dueAt"] is None:
        return waited
    left = _span(_time(d["dueAt"]) - datetime.now(UTC))
    return f"{waited}, {d['onTimeout']} in {left}"


def _arguments(arguments: "Json") -> list[str]:
    lines: list[str] = []
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        first, *rest = text.splitlines() or [""]
        lines += [f"{name}: {first}", *(f"    {line}" for line in rest)]
    return lines or ["(no arguments)"]


def _who(deciders: "Json") -> str:
    named = [*deciders["users"], *(f"role {role}" for role in deciders["roles"])]
    return ", ".join(named) or "anybody"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _span(span: timedelta) -> str:
    left = max(int(span.total_seconds()), 0)
    for unit in _UNIT_S:
        if left >= 2 * _UNIT_S[unit]:
            return f"{left // _UNIT_S[unit]}{unit}"
    return f"{left}s"
