"""People are told: whatever dies between a decision and its notice, the notice arrives."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from contracts.ids import HarnessArn, session_key
from tests.e2e.people import gated, own, resumed, vote, waiting
from tests.e2e.stack import Stack, new_session, say, wait_until
from tests.e2e.test_secrets import files_with, history, rows_with
from tests.mailbox import PASSWORD, Mailbox
from tests.receiver import PATH, SECRET, Receiver

ASK = {"tools": ["shell"], "action": "ask", "deciders": {"users": ["ada"]}}
HARMLESS = "echo argument-canary"


def test_a_notice_survives_its_worker_and_its_secrets_stay_home(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    receiver, mailbox = Receiver(refuses=10**6), Mailbox(tmp_path)
    mailbox.start()
    stack = new_stack(
        EVERLOOP_WEBHOOK_URL=receiver.start(),
        EVERLOOP_WEBHOOK_SECRET=SECRET,
        EVERLOOP_SMTP_URL=mailbox.url(),
        EVERLOOP_EMAIL_FROM="everloop@example.org",
        EVERLOOP_EMAIL_TO="desk@example.com",
        SSL_CERT_FILE=str(mailbox.certificate),
    )
    arn, session = gated(stack, ASK), new_session()
    stack.invoke(arn, session, say(f"Run the shell command `{HARMLESS}`"))
    (decision,) = waiting(stack, session)
    wait_until(lambda: receiver.refused, what="nothing was sent")
    stack.kill("worker")
    receiver.refuses = 0
    # An attempt that died with its worker is given up by its time-out only.
    wait_until(lambda: mailbox.taken, within_s=90, what="the mail waits for the webhook")
    stack.wait_ready("worker")
    wait_until(lambda: receiver.taken, within_s=90, what="nothing was sent after the restart")
    assert vote(stack, decision, "approve")["status"] == "approved"
    resumed(stack, arn, session, decision)
    wait_until(lambda: len(receiver.taken) == 2, what="the end was not told")
    wait_until(lambda: len(mailbox.taken) == 2, what="the end was not mailed")
    first, second = mailbox.taken
    assert first["References"] == second["References"] and first["To"] == "desk@example.com"
    opened, closed = receiver.taken
    assert {each.delivery for each in receiver.refused} == {opened.delivery} != {closed.delivery}
    assert all(each.is_signed for each in [*receiver.refused, opened, closed])
    told = opened.json["decision"]
    assert (told["id"], told["runtimeSessionId"]) == (decision["decisionId"], session)
    assert opened.json["url"].startswith(f"{stack.endpoint}/everloop/v1/decisions/dec-")
    assert (closed.json["kind"], closed.json["decision"]["decidedBy"]) == ("closed", "ada")
    assert HARMLESS not in str([opened.body, closed.body])

    def listed() -> list[dict[str, str]]:
        return own(stack, "GET", "notices?state=delivered")["notices"]

    wait_until(lambda: len(listed()) == 4, what="the delivery was not written down")
    channels = {(each["channel"], each["recipient"]) for each in listed()}
    assert channels == {("webhook", None), ("email", "desk@example.com")}
    shown = stack.everloop("notices", "--json")
    assert json.loads(shown.stdout)["notices"] == listed()
    key = session_key("000000000000", HarnessArn.parse(arn).harness_id, session)
    workflows = [f"notice:{each['noticeId']}" for each in listed()] + [key]
    histories = b"".join(asyncio.run(history(stack, each)) for each in workflows)
    for planted in (SECRET, PATH, PASSWORD, mailbox.url().split("@")[0]):
        assert planted.encode() not in histories
        assert rows_with(planted, stack.data_dir / "everloop.db") == []
        assert files_with(planted, stack.data_dir) == []
    receiver.stop()
    mailbox.stop()
