"""Sending notices, and giving each that is written down to a workflow of its own.

A notice may arrive more than once, under one id: whoever dies between the receiver's answer and the
row that says so sends it again. Neither the receiver's URL nor the key of the signature is in any
error or log, and nothing of the receiver's answer but its status is read.
"""

import asyncio
import logging
from datetime import timedelta

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError

from activities.webhook import request_of
from contracts.notices import (
    NOTICE_PREFIX,
    WORKFLOW_NOTICE,
    NoticeActivity,
    NoticeOrder,
    NoticeRecord,
)
from contracts.turn import TASK_QUEUE
from contracts.webhook_settings import WebhookSettings
from store import Store

log = logging.getLogger(__name__)

#: Seconds between two looks for notices that are due; each is one search of a small index.
LOOK_S = 1.0
#: Seconds for one start.
START_S = 5.0
#: Seconds for one request with its connection. Receivers take a notice in and work on it later.
SEND_S = 10.0

_TAKEN = range(200, 300)


class NoticeActivities:
    """Sends notices."""

    def __init__(self, store: Store, webhook: WebhookSettings | None) -> None:
        """Work on a store.

        Args:
            store: has the notices.
            webhook: the receiver; None when this worker knows none.
        """
        self._store = store
        self._webhook = webhook

    @activity.defn(name=NoticeActivity.DELIVER)
    async def deliver_notice(self, order: NoticeOrder) -> None:
        """Send a notice once.

        Raises:
            ApplicationError: it did not arrive; it is to be sent again.
        """
        if self._webhook is None:
            raise ApplicationError("This worker has no EVERLOOP_WEBHOOK_URL.")
        found = await self._store.notices.begin(order.notice_id)
        if found is None:
            return
        why = await _post(found, self._webhook)
        if why is not None:
            await self._store.notices.missed(order.notice_id, why)
            raise ApplicationError(why)
        await self._store.notices.delivered(order.notice_id)

    @activity.defn(name=NoticeActivity.GIVE_UP)
    async def give_up_notice(self, order: NoticeOrder) -> None:
        """Write down that a notice is not sent any more."""
        await self._store.notices.give_up(order.notice_id)


async def keep_notifying(store: Store, client: Client) -> None:
    """Give notices that are due to workflows, until cancelled."""
    while True:
        try:
            for notice_id in await store.notices.due():
                await _start(client, notice_id)
                await store.notices.given(notice_id)
        except Exception:
            # Database or Temporal may be away for a while; the next look finds the same.
            log.warning("a look for notices failed, and is tried again", exc_info=True)
        await asyncio.sleep(LOOK_S)


async def _start(client: Client, notice_id: str) -> None:
    await client.start_workflow(  # pyright: ignore[reportUnknownMemberType]
        WORKFLOW_NOTICE,
        NoticeOrder(notice_id),
        id=f"{NOTICE_PREFIX}{notice_id}",
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        rpc_timeout=timedelta(seconds=START_S),
    )


async def _post(found: NoticeRecord, webhook: WebhookSettings) -> str | None:
    """Send a notice; why it did not arrive, or None."""
    # Late: most workers send nothing.
    import httpx

    # It logs every request with its URL, which is a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    body, headers = request_of(found, webhook)
    try:
        async with (
            asyncio.timeout(SEND_S),
            httpx.AsyncClient(
                # A proxy of the environment does not know this machine's loopback.
                trust_env=not webhook.is_local,
                timeout=SEND_S,
                follow_redirects=False,
            ) as client,
            client.stream("POST", webhook.url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except TimeoutError:
        return f"no answer within {SEND_S:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"no connection, or no answer: {type(error).__name__}"
    return None if status in _TAKEN else f"answered HTTP {status}"
