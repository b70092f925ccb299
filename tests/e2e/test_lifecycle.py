"""A harness's whole life through boto3: create, update, endpoint, promote, roll back, delete."""

import threading
import uuid
from typing import Any

import pytest

from tests.e2e.stack import DEMO, ROLE, Stack, new_session, say, wait_until

TWO_STEPS = "Run the shell command `sleep 2; echo done`"


@pytest.mark.wire("invoke.qualifier", "endpoint.update", "harness.delete-endpoints")
def test_a_harness_lives_from_create_to_delete(stack: Stack) -> None:
    control: Any = stack.control
    name = f"life{uuid.uuid4().hex[:8]}"
    token = f"{uuid.uuid4()}"
    asked: dict[str, Any] = {
        "harnessName": name,
        "executionRoleArn": ROLE,
        "model": DEMO,
        "tags": {"team": "support"},
        "clientToken": token,
    }
    harness = control.create_harness(**asked)["harness"]
    assert control.create_harness(**asked)["harness"] == harness
    arn, harness_id = harness["arn"], harness["harnessId"]
    assert control.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "support"}

    # Version 1 goes to production; version 2 allows one model call only.
    where = {"harnessId": harness_id, "endpointName": "prod"}
    control.create_harness_endpoint(**where, targetVersion="1")
    control.update_harness(harnessId=harness_id, maxIterations=1)

    def stop_reason(qualifier: str) -> str:
        told = stack.invoke(arn, new_session(), say("Run `true`"), qualifier=qualifier)
        return told.stop_reason

    assert stop_reason("prod") == "end_turn"
    assert stop_reason("DEFAULT") == "max_iterations_exceeded"

    # Promote, and roll back.
    control.update_harness_endpoint(**where, targetVersion="2")
    assert stop_reason("prod") == "max_iterations_exceeded"
    control.update_harness_endpoint(**where, targetVersion="1")
    assert stop_reason("prod") == "end_turn"

    pages = control.get_paginator("list_harness_versions").paginate(
        harnessId=harness_id, PaginationConfig={"PageSize": 1}
    )
    listed = [one["harnessVersion"] for page in pages for one in page["harnessVersions"]]
    assert listed == ["2", "1"]
    pages = control.get_paginator("list_harness_endpoints").paginate(
        harnessId=harness_id, PaginationConfig={"PageSize": 1}
    )
    listed = [one["endpointName"] for page in pages for one in page["endpoints"]]
    assert listed == ["DEFAULT", "prod"]

    with pytest.raises(control.exceptions.ConflictException, match="prod"):
        control.delete_harness(harnessId=harness_id)
    control.delete_harness_endpoint(**where)
    assert control.delete_harness(harnessId=harness_id)["harness"]["status"] == "DELETING"
    for call in (control.get_harness, control.list_harness_endpoints, control.update_harness):
        with pytest.raises(control.exceptions.ResourceNotFoundException):
            call(harnessId=harness_id)


@pytest.mark.wire("version.running-turn")
def test_a_running_turn_keeps_the_version_that_it_began_with(stack: Stack) -> None:
    arn = stack.harness()
    told: list[str] = []
    started = threading.Event()

    def run() -> None:
        for frame in stack.open(arn, new_session(), say(TWO_STEPS)):
            started.set()
            if "messageStop" in frame:
                told.append(frame["messageStop"]["stopReason"])

    turn = threading.Thread(target=run)
    turn.start()
    wait_until(started.is_set, what="the turn did not begin")
    stack.control.update_harness(harnessId=arn.rpartition("/")[2], maxIterations=1)
    assert told.count("end_turn") == 0, "the turn must still run when the version changes"
    turn.join(timeout=60)
    assert told == ["tool_use", "tool_result", "end_turn"]
    after = stack.invoke(arn, new_session(), say(TWO_STEPS))
    assert after.stop_reason == "max_iterations_exceeded"
