"""Fetching what an identity provider publishes, without becoming a tool against others.

Whoever may define a harness chooses the URL, and the URL of the keys is the provider's choice. So:
https only, save for http to loopback where the API itself serves this machine alone; no redirects;
never a link-local address, where clouds keep their metadata; the address that was judged is the one
that is connected to; bounded in size and time; and nothing of the answer reaches a caller.
"""

import asyncio
import ipaddress
import json
import socket
from typing import Any, cast

import httpx

from api.guard import is_loopback

#: Seconds for a whole document, name resolution included. Providers answer in tens of milliseconds.
FETCH_S = 5.0
#: Discovery documents and key sets have some kilobytes.
MAX_DOCUMENT_BYTES = 256 * 1024

HTTP_OK = 200

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchFailed(Exception):
    """A document could not be had; the message is for the operator."""


async def fetch_json(url: str, *, local: bool) -> dict[str, Any]:
    """A JSON object from an identity provider.

    Args:
        url: where it is.
        local: whether the API serves this machine only.

    Raises:
        FetchFailed: it is not to be fetched, cannot be, or is no JSON object.
    """
    try:
        async with asyncio.timeout(FETCH_S):
            return _read(await _get(httpx.URL(url), local), url)
    except TimeoutError:
        raise FetchFailed(f"{url}: no whole answer within {FETCH_S:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise FetchFailed(f"{url}: {type(error).__name__}: {error}") from None


async def _get(url: httpx.URL, local: bool) -> bytes:
    address = await _judged_address(url, local)
    extensions = {"sni_hostname": url.host}
    headers = {
        "Host": url.netloc.decode("ascii"),
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }
    pinned = url.copy_with(host=str(address))
    # A proxy of the environment would resolve the name anew, out of our sight.
    async with (
        httpx.AsyncClient(
            trust_env=False,
            verify=httpx.create_ssl_context(),
            timeout=FETCH_S,
            follow_redirects=False,
        ) as client,
        client.stream("GET", pinned, headers=headers, extensions=extensions) as answer,
    ):
        if answer.status_code != HTTP_OK:
            raise FetchFailed(f"{url}: HTTP {answer.status_code}")
        body = b""
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > MAX_DOCUMENT_BYTES:
                raise FetchFailed(f"{url}: more than {MAX_DOCUMENT_BYTES} bytes")
        return body


async def _judged_address(url: httpx.URL, local: bool) -> Address:
    """The address to connect to; every address of the name must be fit."""
    plain = url.scheme == "http" and local and is_loopback(url.host)
    if not (url.scheme == "https" or plain):
        raise FetchFailed(
            f"{url}: must be https; http is for loopback, where the API serves this machine only"
        )
    if url.userinfo:
        raise FetchFailed("an identity provider's URL must hold no user or password")
    port = url.port or (80 if plain else 443)
    found = await asyncio.get_running_loop().getaddrinfo(
        url.host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    addresses = [_unmapped(ipaddress.ip_address(entry[4][0])) for entry in found]
    for address in addresses:
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            raise FetchFailed(f"{url}: {address} is no address of an identity provider")
        if plain and not address.is_loopback:
            raise FetchFailed(f"{url}: {address} is not on loopback")
    return addresses[0]


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _read(body: bytes, url: str) -> dict[str, Any]:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise FetchFailed(f"{url}: is not JSON") from None
    if not isinstance(value, dict):
        raise FetchFailed(f"{url}: is no JSON object")
    return cast("dict[str, Any]", value)
