"""Joining a stream: several readers, at different cursors, during the turn and after it."""

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from botocore.eventstream import EventStreamBuffer

from everloop.session_events import SessionEvent
from everloop.sessions import Sessions
from tests.api.raw import RawAnswer, call
from tests.e2e.stack import Stack, Told, new_session, say, wait_until


def get(stack: Stack, path: str, **headers: str) -> RawAnswer:
    port = urlsplit(stack.endpoint).port
    assert port is not None
    return call(port, "GET", f"/everloop/v1/{path}", headers=headers)


def place(arn: str, session: str) -> str:
    return f"harnesses/{arn.rpartition('/')[2]}/sessions/{session}"


class Reader(threading.Thread):
    """Reads a session's events until they end."""

    def __init__(self, stack: Stack, arn: str, session: str, **options: Any) -> None:
        super().__init__()
        self._open: Callable[[], Any] = lambda: Sessions.at(stack.endpoint).events(
            arn.rpartition("/")[2], session, **options
        )
        self.events: list[SessionEvent] = []
        self.start()

    def run(self) -> None:
        for event in self._open():
            self.events.append(event)

    def finish(self) -> list[SessionEvent]:
        self.join(timeout=60)
        assert not self.is_alive()
        return self.events


def kinds(events: list[SessionEvent]) -> list[str]:
    names = [event.kind for event in events]
    return [n for i, n in enumerate(names) if n != "delta" or names[i - 1] != n]


def settled(events: list[SessionEvent]) -> list[Any]:
    return [event.data["message"] for event in events if event.kind == "message"]


def test_readers_at_different_cursors_see_the_same_turn_during_it_and_after(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    gate = f"open-{session}"
    work = f"Run the shell command `touch at-{gate}; until [ -e {gate} ]; do sleep 0.05; done`"
    stream = stack.open(arn, session, say(f"{work}. Then count to 60."), key="one")
    next(stream)
    (at,) = wait_until(lambda: stack.volume_files(f"at-{gate}"), what="the command did not start")
    readers = [Reader(stack, arn, session, invocation_id="one") for _ in range(2)]
    wait_until(lambda: all(reader.events for reader in readers))
    late = Reader(stack, arn, session, invocation_id="one", after=2)
    at.with_name(gate).touch()
    told = Told(list(stream))

    first, second = (reader.finish() for reader in readers)
    assert kinds(first)[-1] == "end"
    assert settled(first) == settled(second)
    assert len(settled(first)) == 2
    behind = late.finish()
    assert all(event.cursor is None or event.cursor > 2 for event in behind)
    assert settled(behind)[-1] == settled(first)[-1]

    after_end = Reader(stack, arn, session, invocation_id="one").finish()
    assert kinds(after_end) == ["opened", "message", "results", "message", "end"]
    assert settled(after_end) == settled(first)
    assert "".join(block.get("text", "") for block in settled(first)[-1]["content"]) in told.text


def test_a_reader_that_comes_again_goes_on_behind_its_last_event(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    stack.invoke(arn, session, say("Count to 3"), key="one")
    stack.invoke(arn, session, say("Count to 4"), key="two")
    whole = Reader(stack, arn, session, follow=False).finish()
    assert kinds(whole) == ["opened", "message", "end"] * 2
    cursors = [event.cursor for event in whole]
    middle = str(cursors[2])
    answer = get(stack, f"{place(arn, session)}/events", **{"Last-Event-ID": middle})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [line for line in answer.body.decode().splitlines() if line.startswith("id: ")]
    assert told == [f"id: {cursor}" for cursor in cursors[3:]]
    over = f"{place(arn, session)}/events?follow=true&invocationId=one&after={middle}"
    assert get(stack, over).status == 204, "an EventSource stops coming again"


def test_a_whole_session_is_followed_over_turns_and_a_killed_server(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    stack.invoke(arn, session, say("Count to 2"), key="one")
    watching = iter(Sessions.at(stack.endpoint).events(arn.rpartition("/")[2], session))
    seen = [next(watching) for _ in range(3)]
    stack.kill("api")
    stack.wait_ready("api")
    stack.follow(arn, session, say("Count to 3"), key="two")
    while seen[-1].kind != "end" or seen[-1].data["invocationId"] != "two":
        seen.append(next(watching))
    assert [event.data["invocationId"] for event in seen if event.kind == "opened"] == [
        "one",
        "two",
    ]
    cursors = [event.cursor for event in seen if event.cursor is not None]
    assert cursors == sorted(set(cursors)), "nothing is told twice"


def test_an_invocation_is_joined_in_awss_form(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    told = stack.invoke(arn, session, say("Run the shell command `echo hello`"), key="one")
    answer = get(stack, f"{place(arn, session)}/invocations/one/stream")
    assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert answer.headers["x-everloop-invocation-id"] == "one"
    assert answer.headers["x-everloop-cursor"] == "0"
    buffer: Any = EventStreamBuffer()
    buffer.add_data(answer.body)
    frames = [
        {event.headers[":event-type"]: json.loads(event.payload)}
        for event in buffer
        if event.headers[":message-type"] == "event"
    ]
    assert Told(frames).messages == told.messages
    missing = get(stack, f"{place(arn, session)}/invocations/two/stream")
    assert missing.error == "ResourceNotFoundException"


def test_the_command_shows_a_session_and_its_events(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    stack.invoke(arn, session, say("Run the shell command `echo seen by all`"), key="one")
    words = ("attach", arn, "--session-id", session)
    shown = stack.everloop(*words, "--invocation-id", "one")
    assert "seen by all" in shown.stdout
    assert "end_turn" in shown.stdout
    events = stack.everloop(*words, "--no-follow", "--json")
    lines = [json.loads(line) for line in events.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["opened", "message", "results", "message", "end"]
