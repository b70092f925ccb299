"""A stream to agentd through the API server: exec of a relay in the pod, over a WebSocket.

Nothing listens on the pod's network, so a policy can close it altogether, and the cluster's own
access rules say who may speak to agentd.
"""

import asyncio
import importlib
import json
from typing import Any, cast

from environments.channel import ANSWER_BYTES, Streams
from environments.kubernetes_pod import CONTROL_DIR

#: Channels of Kubernetes' exec protocol, the first byte of each message.
_STDIN, _STDOUT, _STDERR, _ERROR = b"\x00", 1, 2, 3
#: One message to the API server; its own bound is 32 KiB by default in some proxies.
PIECE_BYTES = 16 * 1024
#: Both directions, until either side has ended.
_RELAY = f"""
import os, socket, threading
stream = socket.socket(socket.AF_UNIX)
stream.connect("{CONTROL_DIR}/s")
def send():
    while True:
        data = os.read(0, 65536)
        if not data:
            os._exit(0)
        stream.sendall(data)
threading.Thread(target=send, daemon=True).start()
while True:
    data = stream.recv(65536)
    if not data:
        os._exit(0)
    while data:
        data = data[os.write(1, data):]
"""
COMMAND = ("python3", "-SsEB", "-c", _RELAY)


class _Brake(asyncio.ReadTransport):
    """Holds up a reader's source while too much waits to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.off = asyncio.Event()
        self.off.set()

    def pause_reading(self) -> None:
        self.off.clear()

    def resume_reading(self) -> None:
        self.off.set()


class ExecWriter:
    """The writing half of a stream, as far as `AgentChannel` uses a StreamWriter."""

    def __init__(self, socket: Any, reading: "asyncio.Task[None]") -> None:
        """Write to a WebSocket that a task reads from."""
        self._socket = socket
        self._reading = reading
        self._data = b""

    @property
    def transport(self) -> "ExecWriter":
        """What `abort` is called on."""
        return self

    def write(self, data: bytes) -> None:
        """Keep data for `drain`."""
        self._data += data

    async def drain(self) -> None:
        """Send what was written.

        Raises:
            ConnectionError: the connection is gone.
        """
        data, self._data = self._data, b""
        for at in range(0, len(data), PIECE_BYTES):
            await self._socket.send_bytes(_STDIN + data[at : at + PIECE_BYTES])

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._reading.cancel()


async def open_exec(socket_context: Any) -> Streams:
    """A stream to agentd over an exec WebSocket that is about to be opened.

    Args:
        socket_context: aiohttp's context manager of the WebSocket.

    Raises:
        ConnectionError: it could not be opened.
    """
    http: Any = importlib.import_module("aiohttp")
    try:
        socket = await socket_context.__aenter__()
    except (http.ClientError, OSError) as error:
        raise ConnectionError(f"exec was refused: {error}") from None
    reader, brake = asyncio.StreamReader(limit=ANSWER_BYTES), _Brake()
    reader.set_transport(brake)
    reading = asyncio.create_task(_read(socket, socket_context, reader, brake, http))
    return reader, cast(asyncio.StreamWriter, ExecWriter(socket, reading))


async def _read(
    socket: Any, socket_context: Any, reader: asyncio.StreamReader, brake: _Brake, http: Any
) -> None:
    try:
        async for message in socket:
            await brake.off.wait()
            if message.type is not http.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == _STDOUT:
                reader.feed_data(data)
            elif channel == _ERROR:
                if json.loads(data or b"{}").get("status") != "Success":
                    reader.set_exception(ConnectionRefusedError("agentd cannot be reached"))
                break
    finally:
        reader.feed_eof()
        await asyncio.shield(socket_context.__aexit__(None, None, None))
