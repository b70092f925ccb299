"""People in tests: the inbox and votes over HTTP, as whoever a header names."""

import json
import urllib.error
import urllib.request
import uuid
from typing import Any

from tests.e2e.stack import Stack, wait_until

Json = dict[str, Any]


class Refused(Exception):
    """The API refused."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(f"{status} {error}: {message}")
        self.status = status
        self.error = error


def own(
    stack: Stack,
    method: str,
    path: str,
    body: Json | None = None,
    *,
    user: str = "ada",
    roles: str = "",
) -> Json:
    """One request to `/everloop/v1`."""
    headers = {"content-type": "application/json", "x-everloop-user": user}
    if roles:
        headers["x-everloop-roles"] = roles
    request = urllib.request.Request(
        f"{stack.endpoint}/everloop/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers=headers,
    )
    try:
        with urllib.request.urlopen(request, timeout=70) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            told = json.loads(error.read())
            name = error.headers["x-amzn-errortype"]
        raise Refused(error.code, name, told["message"]) from None


def gated(stack: Stack, *rules: Json, **members: Any) -> str:
    """A harness with approval rules, once they are in force; its ARN."""
    arn = stack.harness(**members)
    harness_id = arn.split("/")[1]
    extensions: Json = {"approvals": {"rules": list(rules)}}
    own(stack, "PUT", f"harnesses/{harness_id}/extensions", extensions)
    control = stack.control

    def ready() -> bool:
        return control.get_harness(harnessId=harness_id)["harness"]["status"] == "READY"

    wait_until(ready, what="the rules did not come into force")
    return arn


def waiting(stack: Stack, session: str) -> list[Json]:
    """The open decisions of a session."""
    found = own(stack, "GET", "decisions?maxResults=100")["decisions"]
    return [each for each in found if each["runtimeSessionId"] == session]


def vote(
    stack: Stack, decision: Json, verdict: str, *, user: str = "ada", roles: str = "", **more: Any
) -> Json:
    """Vote about a decision as it was seen; the decision afterwards."""
    body = {
        "decision": verdict,
        "digest": decision["digest"],
        "voteId": str(uuid.uuid4()),
        **more,
    }
    path = f"decisions/{decision['decisionId']}/votes"
    return own(stack, "POST", path, body, user=user, roles=roles)["decision"]


def invocations(stack: Stack, arn: str, session: str) -> dict[str, Json]:
    path = f"harnesses/{arn.split('/')[1]}/sessions/{session}/usage"
    return {each["invocationId"]: each for each in own(stack, "GET", path)["invocations"]}


def resumed(stack: Stack, arn: str, session: str, decision: Json) -> Json:
    """The invocation that resumed the turn after a decision, once it has ended."""

    def ended() -> Json | None:
        found = invocations(stack, arn, session).get(f"decided-{decision['decisionId']}")
        return found if found and found["state"] == "ended" else None

    return wait_until(ended, what="the turn was not resumed")  # type: ignore[return-value]
