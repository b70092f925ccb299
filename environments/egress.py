"""The egress proxy: the only way from a sandbox to the network.

It runs in the sandbox host. Each sandbox that may reach anything has a unix socket of its own,
which is how the proxy knows whose a connection is. In order, for each connection: read the head of
one request, check host and port against the harness's list, resolve the name once, check the
addresses, connect to exactly one that passed, and carry bytes within bounds.

It never looks inside TLS, never keeps a path or a header, and never lets a name be resolved twice.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from contracts.egress import EgressCredential
from contracts.errors import EverloopError
from environments import sockets
from environments.egress_head import BadHead, Head, read_head, write_head
from environments.egress_pump import Meter, TooMuch, pump
from environments.egress_rules import Address, Rules

log = logging.getLogger(__name__)

#: A head of a request; servers take 8 to 64 KiB.
HEAD_BYTES = 32 * 1024
#: Seconds for the head of a request, for resolving a name, and for connecting.
HEAD_S, RESOLVE_S, CONNECT_S = 15.0, 10.0, 10.0
#: Connections of one sandbox at once; package managers use about 20.
CONNECTIONS_MAX = 64
#: Names that are resolved at once: of one sandbox, and of all. They block a thread each.
RESOLVING_MAX, RESOLVERS = 4, 16
#: Addresses of a name that are tried.
ADDRESSES_MAX = 4
#: Lines of log for one sandbox in a minute; the rest is counted.
LOG_LINES = 120

#: Requests for http://host are sent on over TLS where a credential is added.
PLAIN_PORT, TLS_PORT = 80, 443

Resolve = Callable[[str, int], list[str]]
Reveal = Callable[[str], Awaitable[str]]


class _Refused(Exception):
    """A request is not done; `status` and the text are what the client gets."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class _Box:
    """One sandbox's listener."""

    name: str
    rules: Rules
    server: asyncio.Server | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    resolving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RESOLVING_MAX))
    minute: int = 0
    lines: int = 0

    def log(self, host: str, port: int, verdict: str) -> None:
        minute = int(time.monotonic() // 60)
        if minute != self.minute:
            if self.lines > LOG_LINES:
                log.info("egress %s: %d more decisions", self.name, self.lines - LOG_LINES)
            self.minute, self.lines = minute, 0
        self.lines += 1
        if self.lines <= LOG_LINES:
            log.info("egress %s %s:%d %s", self.name, host, port, verdict)


class EgressProxy:
    """Serves the sandboxes of one host."""

    def __init__(
        self,
        reveal: Reveal,
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Serve nobody yet.

        Args:
            reveal: gives the secret of a credential provider's ARN.
            resolve: gives the addresses of a host and port; the system's resolver when omitted.
            tls: checks servers that get a credential; the system's trust when omitted.
        """
        self._reveal = reveal
        self._resolve = resolve or _system_addresses
        self._tls = tls or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
        self._boxes: dict[str, _Box] = {}

    async def open(self, name: str, path: Path, rules: Rules) -> None:
        """Listen for a sandbox.

        Args:
            name: the sandbox's, for the log.
            path: the socket, in a directory that only we and, read-only, the sandbox can enter; one
                that an earlier host process left is replaced.
            rules: what it may reach.
        """
        await self.close(name)
        path.unlink(missing_ok=True)
        box = _Box(name, rules)
        listener = sockets.listen(path)
        # The session's own host user connects; others cannot enter the directory.
        os.chmod(path, 0o666)
        box.server = await asyncio.start_unix_server(
            lambda reader, writer: self._accept(box, reader, writer),
            sock=listener,
            limit=HEAD_BYTES,
        )
        self._boxes[name] = box

    async def close(self, name: str) -> None:
        """Stop listening for a sandbox and cut its connections. Idempotent."""
        box = self._boxes.pop(name, None)
        if box is None:
            return
        assert box.server is not None
        box.server.close()
        for task in box.tasks:
            task.cancel()
        await asyncio.gather(*box.tasks, return_exceptions=True)

    async def close_all(self) -> None:
        """Let go of every sandbox; the next host process listens anew."""
        for name in list(self._boxes):
            await self.close(name)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _accept(
        self, box: _Box, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        box.tasks.add(task)
        try:
            await self._answer(box, reader, writer)
            async with asyncio.timeout(CONNECT_S):
                writer.close()
                await writer.wait_closed()
        except (OSError, TooMuch, TimeoutError, asyncio.IncompleteReadError):
            # Either end is gone, or the connection has had its share: it ends.
            pass
        finally:
            box.tasks.discard(task)
            writer.transport.abort()

    async def _answer(
        self, box: _Box, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if len(box.tasks) > CONNECTIONS_MAX:
                raise _Refused(
                    "503 Service Unavailable", f"more than {CONNECTIONS_MAX} connections at once"
                )
            head = await _receive_head(reader)
            await self._serve(box, head, reader, writer)
        except _Refused as refusal:
            body = f"Everloop egress: {refusal}.\n".encode()
            writer.write(
                f"HTTP/1.1 {refusal.status}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            async with asyncio.timeout(CONNECT_S):
                await writer.drain()
                writer.write_eof()
                # Closing with unread input would reset the connection before the answer is read.
                with contextlib.suppress(TimeoutError):
                    while await reader.read(HEAD_BYTES):
                        pass

    async def _serve(
        self, box: _Box, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        port, credentials = head.port, list[EgressCredential]()
        if head.method != "CONNECT" and head.port == PLAIN_PORT:
            credentials = [one for one in box.rules.egress.credentials if one.host == head.host]
        if credentials:
            port = TLS_PORT
        server = await self._dial(box, head.host, port, tls=bool(credentials))
        meter = Meter()
        try:
            if head.method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await pump((reader, server[1]), (server[0], writer), meter)
            else:
                added = [await self._header(box, one) for one in credentials]
                server[1].write(write_head(head, added))
                await pump(
                    (reader, server[1]), (server[0], writer), meter, request_bytes=head.body_bytes
                )
        finally:
            server[1].transport.abort()

    async def _header(self, box: _Box, credential: EgressCredential) -> tuple[str, str]:
        try:
            value = credential.prefix + await self._reveal(credential.api_key_arn)
        except EverloopError as error:
            log.error("egress %s: a credential cannot be had: %s", box.name, error)
            value = ""
        if not (value.isascii() and value.isprintable() and value):
            raise _Refused(
                "502 Bad Gateway", f"the credential for {credential.host} cannot be used"
            )
        return credential.header, value

    async def _dial(self, box: _Box, host: str, port: int, *, tls: bool) -> sockets.Streams:
        why = box.rules.refuse_name(host, port)
        if why is not None:
            box.log(host, port, "refused: not listed")
            raise _Refused("403 Forbidden", why)
        addresses = await self._addresses(box, host, port)
        allowed = [address for address in addresses if box.rules.may_dial(address)]
        if not allowed:
            box.log(host, port, "refused: address" if addresses else "not resolved")
            if not addresses:
                raise _Refused("502 Bad Gateway", f"the name {host} has no address")
            raise _Refused("403 Forbidden", f"{host} leads to an address that is not public")
        for address in allowed[:ADDRESSES_MAX]:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    # The address itself, never the name again: it might lead elsewhere by now.
                    streams = await asyncio.open_connection(
                        str(address),
                        port,
                        ssl=self._tls if tls else None,
                        server_hostname=host if tls else None,
                        limit=HEAD_BYTES,
                    )
                box.log(host, port, "allowed")
                return streams
        box.log(host, port, "allowed, and not reached")
        raise _Refused("502 Bad Gateway", f"{host}:{port} cannot be reached")

    async def _addresses(self, box: _Box, host: str, port: int) -> list[Address]:
        try:
            async with asyncio.timeout(RESOLVE_S), box.resolving:
                found = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._resolve, host, port
                )
        except (OSError, TimeoutError, UnicodeError):
            return []
        return [ipaddress.ip_address(text) for text in dict.fromkeys(found)]


async def _receive_head(reader: asyncio.StreamReader) -> Head:
    try:
        async with asyncio.timeout(HEAD_S):
            return read_head(await reader.readuntil(b"\r\n\r\n"))
    except BadHead as error:
        raise _Refused("400 Bad Request", str(error)) from None
    except asyncio.LimitOverrunError:
        raise _Refused(
            "431 Request Header Fields Too Large", f"a head has at most {HEAD_BYTES} bytes"
        ) from None


def _system_addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]
