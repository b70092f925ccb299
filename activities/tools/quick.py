"""The local activity that has a sandbox host do a tool call at once, over the host's endpoint.

Most calls take milliseconds, less than Temporal needs to hand an activity to another process and
back. So a call is first tried within the workflow task that asks for it. That holds the task up,
so it is bounded: a call that takes longer, or whose host does not answer, is left to the activity
`run_tool`, which joins it by its id.
"""

import logging
import time

import httpx
from temporalio import activity

from activities.context import session_key
from contracts.commands import HostAddress
from contracts.ids import host_of_queue
from contracts.turn import Activity, ToolCall
from store import Store

log = logging.getLogger(__name__)

#: Seconds that a host works on a call before it answers; a cancellation may come as late as that.
QUICK_S = 1.0
#: Seconds to reach a host.
CONNECT_S = 0.5
#: Seconds beyond `QUICK_S` until a host's answer is not awaited any longer.
ANSWER_S = 1.0
#: Seconds until a host that could not be reached is tried again.
AGAIN_S = 10.0
#: Connections to hosts at once: as many as local activities.
CONNECTIONS_MAX = 100


class QuickCalls:
    """Asks sandbox hosts directly; one pool of connections."""

    def __init__(self, store: Store) -> None:
        """Know no host yet.

        Args:
            store: knows where hosts are reached.
        """
        self._store = store
        self._addresses: dict[str, HostAddress] = {}
        self._away: dict[str, float] = {}
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(QUICK_S + ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX
            ),
            trust_env=False,
        )
        # It tells every request with its query.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    @activity.defn(name=Activity.RUN_QUICKLY)
    async def run_quickly(self, call: ToolCall) -> bool:
        """See whether a call can be done at once.

        Args:
            call: names it, and the queue of the host that has its session.

        Returns:
            Whether it has an outcome in the store. False tells nothing: it may run, or never have
            been sent.
        """
        host = host_of_queue(call.queue or "")
        if self._away.get(host, 0.0) > time.monotonic():
            return False
        try:
            address = self._addresses.get(host) or await self._store.hosts.address(host)
            if address is None or not address.alive:
                return False
            self._addresses[host] = address
            return await self._ask(address, session_key(), call)
        except httpx.TransportError as error:
            log.info("sandbox host %r is not reached: %s", host, type(error).__name__)
            self._away[host] = time.monotonic() + AGAIN_S
            self._addresses.pop(host, None)
            return False

    async def _ask(self, address: HostAddress, session: str, call: ToolCall) -> bool:
        response = await self._client.post(
            f"{address.url}/tools",
            params={
                "session": session,
                "invocation": call.invocation_id,
                "id": call.tool_use_id,
                "wait_ms": round(QUICK_S * 1000),
            },
            headers={"Authorization": f"Bearer {address.secret}"},
        )
        if response.status_code not in (httpx.codes.NO_CONTENT, httpx.codes.ACCEPTED):
            # It started anew with another secret, has lost the session, or is at its limits.
            self._addresses.pop(address.host, None)
            return False
        return response.status_code == httpx.codes.NO_CONTENT
