"""Sandbox hosts, as the API reaches them: their address and secret from the store, then HTTP.

A session's environment and files are on one host. It may be restarting: it is then asked again,
each time at the address that it has by then. Everything that is asked may be asked twice.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.commands import HostAddress
from contracts.errors import AwsError, EverloopError, ServiceError, invalid
from contracts.json_values import as_object
from contracts.settings import Settings
from store import Store

if TYPE_CHECKING:
    import httpx

#: Seconds that a host may take to come back: a restart takes two, its lease fifteen.
PATIENCE_S = 25.0
#: Seconds between two tries.
AGAIN_S = 0.2
CONNECT_S = 3.0
#: Seconds without a byte. The longest silence is that of a checksum over a gigabyte; followers of a
#: command hear something every 15.
SILENCE_S = 60.0
#: Connections to hosts at once; others wait.
CONNECTIONS_MAX = 1000
#: An error's JSON.
ERROR_BYTES = 64 * 1024

_BY_CODE = {
    "busy": AwsError.THROTTLING,
    "unavailable": AwsError.RUNTIME_CLIENT,
    "gone": AwsError.RUNTIME_CLIENT,
    "unknown_id": AwsError.NOT_FOUND,
}
#: Errors that a host gives as they stand.
_PASSED_ON = (AwsError.VALIDATION, AwsError.NOT_FOUND, AwsError.QUOTA, AwsError.CONFLICT)


class HostAway(EverloopError):
    """A host does not answer now, or is not the one any more; it may be asked again."""


@dataclass(frozen=True)
class HostCall:
    """What a host is asked.

    Attributes:
        session: the session's key.
        method: the HTTP method.
        path: of the endpoint.
        params: query parameters, beside the session.
        headers: passed on as they are.
        body: the whole body.
    """

    session: str
    method: str
    path: str
    params: Mapping[str, str | int]
    headers: Mapping[str, str]
    body: bytes = b""


class Hosts:
    """Calls of sandbox hosts; one pool of connections."""

    def __init__(self) -> None:
        """Connect to nobody yet."""
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()

    @asynccontextmanager
    async def open(
        self, store: Store, settings: Settings, call: HostCall
    ) -> AsyncGenerator["httpx.Response"]:
        """Ask the session's host, again while it is away; its answer, whose body is still to come.

        Raises:
            ServiceError: what the host says, or that it stays away.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                response = await self._send(await self.find(store, settings, call.session), call)
                break
            except HostAway as error:
                if time.monotonic() > deadline:
                    raise away(error) from error
                await asyncio.sleep(AGAIN_S)
        try:
            yield response
        finally:
            await response.aclose()

    async def ask(self, store: Store, settings: Settings, call: HostCall) -> dict[str, Any]:
        """As `open`, for an answer that is short JSON."""
        import httpx

        async with self.open(store, settings, call) as response:
            try:
                await response.aread()
            except httpx.TransportError as error:
                raise away(HostAway("the sandbox host broke off its answer")) from error
            return response.json()

    async def find(self, store: Store, settings: Settings, session: str) -> HostAddress:
        """Where the host of a session is reached now; one is chosen for a session that has none.

        Raises:
            HostAway: it is not known now.
            ServiceError: ResourceNotFoundException, there is no such session.
        """
        host = await store.environments.assign(session, settings.host_id)
        if host is None:
            raise HostAway("no sandbox host runs")
        address = await store.hosts.address(host)
        if address is None:
            raise HostAway(f"the sandbox host {host!r} has not said where it serves")
        return address

    async def _send(self, address: HostAddress, call: HostCall) -> "httpx.Response":
        import httpx

        client = self._pool()
        request = client.build_request(
            call.method,
            f"{address.url}{call.path}",
            params={**call.params, "session": call.session},
            headers={**call.headers, "Authorization": f"Bearer {address.secret}"},
            content=call.body or None,
        )
        try:
            response = await client.send(request, stream=True)
        except httpx.TransportError as error:
            raise HostAway(
                f"the sandbox host {address.host!r} does not answer: {type(error).__name__}"
            ) from error
        if response.status_code < 400:
            return response
        try:
            raise refusal(response.status_code, await _bounded(response), address.host)
        finally:
            await response.aclose()

    def _pool(self) -> "httpx.AsyncClient":
        if self._client is None:
            import httpx

            # It tells every request with its query; what was asked is in our own access log.
            logging.getLogger("httpx").setLevel(logging.WARNING)
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
                trust_env=False,
            )
        return self._client


def refusal(status: int, body: Any, host: str) -> Exception:
    """What a host's error means to our caller.

    Args:
        status: its HTTP status.
        body: its JSON; anything else when it is not from our endpoint.
        host: its name.
    """
    values = as_object(body) or {}
    code, message = str(values.get("error")), str(values.get("message"))
    field = str(values.get("field") or "")
    if status in (401, 421):
        return HostAway(f"the sandbox host {host!r} has changed")
    if status == 503:
        return ServiceError(AwsError.THROTTLING, f"The sandbox host {host!r} is at its limits.")
    if code in _BY_CODE:
        return ServiceError(_BY_CODE[code], message)
    for error in _PASSED_ON:
        if code == error.value:
            if error is AwsError.VALIDATION and field:
                return invalid(field, message.removeprefix(f"{field}: "))
            return ServiceError(error, message)
    return ServiceError(AwsError.INTERNAL, f"The sandbox host {host!r} failed; its log says why.")


def away(error: HostAway) -> ServiceError:
    """The answer when a host stays away."""
    return ServiceError(AwsError.INTERNAL, f"{error}. Repeating the call with the same id is safe.")


async def _bounded(response: "httpx.Response") -> Any:
    import httpx

    data = b""
    try:
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > ERROR_BYTES:
                return None
        return json.loads(data)
    except (httpx.TransportError, ValueError):
        return None
