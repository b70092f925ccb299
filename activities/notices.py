"""Sending notices, and giving each that is written down to a workflow of its own.

A notice may arrive more than once, under one id: whoever dies between the receiver's answer and the
row that says so sends it again. Neither URLs of receivers nor keys and passwords are in any error
or log, and nothing of a receiver's answer but its status is kept.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError

from activities.told import Missed
from activities.webhook import request_of
from contracts.email_settings import EmailSettings
from contracts.notices import (
    NOTICE_PREFIX,
    WORKFLOW_NOTICE,
    NoticeActivity,
    NoticeChannel,
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

#: Of a notice that is mailed only, and to nobody.
NOBODY = "EVERLOOP_EMAIL_BOOK has none of its deciders, and EVERLOOP_EMAIL_TO nobody."


class NoticeActivities:
    """Sends notices."""

    def __init__(
        self, store: Store, webhook: WebhookSettings | None, email: EmailSettings | None = None
    ) -> None:
        """Work on a store.

        Args:
            store: has the notices.
            webhook: the receiver; None when this worker knows none.
            email: the mail server; None when this worker knows none.
        """
        self._store = store
        self._webhook = webhook
        self._email = email

    @activity.defn(name=NoticeActivity.DELIVER)
    async def deliver_notice(self, order: NoticeOrder) -> None:
        """Send a notice once.

        Raises:
            ApplicationError: it did not arrive; it is to be sent again, unless it was refused for
                good.
        """
        send = await self._way(order.notice_id)
        found = await self._store.notices.begin(order.notice_id)
        if found is None:
            return
        missed = await _missed(send(found))
        if missed is None:
            await self._store.notices.delivered(order.notice_id)
            return
        await self._store.notices.missed(order.notice_id, str(missed))
        raise ApplicationError(str(missed), non_retryable=missed.for_good)

    async def _way(self, notice_id: str) -> Callable[[NoticeRecord], Awaitable[None]]:
        """How a notice is sent; one of earlier releases, or from a worker of one, is posted."""
        known = await self._store.notices.get(notice_id)
        if known is not None and known.channel is NoticeChannel.EMAIL:
            if self._email is None:
                raise ApplicationError("This worker has no EVERLOOP_SMTP_URL.")
            return partial(_mail, settings=self._email)
        if self._webhook is None:
            raise ApplicationError("This worker has no EVERLOOP_WEBHOOK_URL.")
        return partial(_post, webhook=self._webhook)

    @activity.defn(name=NoticeActivity.GIVE_UP)
    async def give_up_notice(self, order: NoticeOrder) -> None:
        """Write down that a notice is not sent any more."""
        await self._store.notices.give_up(order.notice_id)


async def _missed(sending: Awaitable[None]) -> Missed | None:
    """Why a notice did not arrive; without what was under way, which knows secrets."""
    try:
        await sending
    except Missed as missed:
        return Missed(str(missed), for_good=missed.for_good)
    return None


async def keep_notifying(
    store: Store, client: Client, webhook: WebhookSettings | None, email: EmailSettings | None
) -> None:
    """Give notices that are due to workflows, until cancelled."""
    channels = [
        channel
        for channel, settings in (
            (NoticeChannel.WEBHOOK, webhook),
            (NoticeChannel.EMAIL, email),
        )
        if settings is not None
    ]
    while channels:
        try:
            found = await store.notices.due(channels)
            for due in found:
                if due.spread:
                    await _start(client, due.id)
                    await store.notices.given(due.id)
                else:
                    await spread(store, due.id, webhook, email)
            if any(not due.spread for due in found):
                continue
        except Exception:
            # Database or Temporal may be away for a while; the next look finds the same.
            log.warning("a look for notices failed, and is tried again", exc_info=True)
        await asyncio.sleep(LOOK_S)


async def spread(
    store: Store, notice_id: str, webhook: WebhookSettings | None, email: EmailSettings | None
) -> None:
    """Find out in which ways a notice is to be sent, and to whom; one that reaches nobody fails."""
    found = await store.notices.get(notice_id)
    if found is None:
        return
    ways: list[tuple[NoticeChannel, str | None]] = []
    if webhook is not None:
        ways.append((NoticeChannel.WEBHOOK, None))
    if email is not None:
        recipients = email.recipients(found.decision.gate.terms.deciders)
        ways += [(NoticeChannel.EMAIL, recipient) for recipient in recipients]
    if ways:
        await store.notices.spread(notice_id, ways)
        return
    await store.notices.spread(notice_id, [(NoticeChannel.EMAIL, None)])
    await store.notices.give_up(notice_id, NOBODY)


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


async def _mail(found: NoticeRecord, settings: EmailSettings) -> None:
    """Mail a notice.

    Raises:
        Missed: the server did not take it.
    """
    # Late: most workers send nothing.
    from activities.mail import mail_of, send_mail

    await asyncio.to_thread(send_mail, mail_of(found, settings), settings)


async def _post(found: NoticeRecord, webhook: WebhookSettings) -> None:
    """Post a notice.

    Raises:
        Missed: it did not arrive.
    """
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
        raise Missed(f"no answer within {SEND_S:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Missed(f"no connection, or no answer: {type(error).__name__}") from None
    if status not in _TAKEN:
        raise Missed(f"answered HTTP {status}")
