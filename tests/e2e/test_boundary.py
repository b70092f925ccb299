"""The moment a run completes, and the same message from two servers at once."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.stack import (
    APPROVAL,
    Frame,
    Stack,
    Told,
    answer,
    new_session,
    say,
    wait_until,
)

ROUNDS = 60


@pytest.fixture(scope="module")
def graceless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Runs complete as soon as they have nothing to do."""
    running = Stack(tmp_path_factory.mktemp("graceless") / "data", EVERLOOP_GRACE_S="0").start()
    yield running
    running.stop()


def test_a_message_at_the_moment_a_run_completes_is_answered_once(graceless: Stack) -> None:
    arn, session = graceless.harness(), new_session()
    jitter = random.Random(7)
    for number in range(ROUNDS):
        told = graceless.invoke(arn, session, say(f"Count to {number % 3 + 1}"))
        assert told.stops == ["end_turn"], f"round {number}"
        assert told.text.split() == [str(n + 1) for n in range(number % 3 + 1)]
        time.sleep(jitter.random() * 0.03)


@pytest.mark.thorough
def test_an_answer_at_the_moment_a_run_parks_resumes_the_turn_once(graceless: Stack) -> None:
    arn, session = graceless.harness(tools=[APPROVAL]), new_session()
    for number in range(ROUNDS // 2):
        told = graceless.invoke(arn, session, say(f"Ask for approval of step {number}"))
        assert told.stops == ["tool_use"], f"round {number}"
        (use,) = told.tool_uses
        resumed = graceless.invoke(arn, session, answer((use["toolUseId"], "yes")))
        assert resumed.stops == ["tool_result", "end_turn"], f"round {number}"


def test_a_message_sent_twice_at_once_from_two_servers_runs_once(graceless: Stack) -> None:
    arn, session = graceless.harness(), new_session()

    def invoke_at(
        endpoint: str, arn: str, session: str, work: list[Frame], key: str, told: list[Told]
    ) -> None:
        told.append(graceless.invoke(arn, session, work, key=key, endpoint=endpoint))

    with SecondApi(graceless) as other:
        for number in range(10):
            key, work = f"twice-{number}", say("Run the shell command `echo x >> twice.txt`")
            told: list[Told] = []
            threads = [
                threading.Thread(target=invoke_at, args=(endpoint, arn, session, work, key, told))
                for endpoint in (graceless.endpoint, other)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=60)
            assert len(told) == 2
            assert told[0].messages == told[1].messages
            (effects,) = graceless.volume_files("twice.txt")
            assert effects.read_text().split() == ["x"] * (number + 1)


class SecondApi:
    """Another API server on the same store and the same Temporal."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def __enter__(self) -> str:
        run = self._stack.data_dir.parent / "second"
        env = {
            **os.environ,
            "EVERLOOP_DATA_DIR": str(run),
            "EVERLOOP_DATABASE_URL": self._stack.database_url,
            "EVERLOOP_TEMPORAL_ADDRESS": self._stack.temporal,
            "EVERLOOP_API_PORT": "0",
            "EVERLOOP_GRACE_S": "0",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "api"], env=env, stdout=subprocess.DEVNULL
        )
        address = run / "run" / "api.json"
        wait_until(address.exists, what="the second API server did not start")
        return f"http://127.0.0.1:{json.loads(address.read_text())['port']}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)


def test_many_sessions_at_once_do_not_mix(graceless: Stack) -> None:
    arn = graceless.harness()
    told: dict[int, Told] = {}

    def talk(number: int) -> Callable[[], None]:
        def run() -> None:
            told[number] = graceless.invoke(
                arn, new_session(), say(f"Run the shell command `echo {number}; ls -A; pwd`")
            )

        return run

    threads = [threading.Thread(target=talk(number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for number in range(8):
        assert json.loads(told[number].results[0])["stdout"].split()[0] == str(number)
        assert str(number) in told[number].text
