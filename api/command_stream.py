"""Following a command: what its host tells, as the frames of InvokeAgentRuntimeCommand's stream.

The stream is a view: whoever leaves it changes nothing, and whoever comes again sees all of it.
When the host goes away it is asked again, from where it left off.
"""

import asyncio
import base64
import codecs
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

from api.context import Context
from api.errors import unexpected
from api.frames import KEEP_ALIVE, Frame, stream_error
from api.hosts import AGAIN_S, HostAway, HostCall, away
from contracts.environment import CommandEnd
from contracts.errors import AwsError, ServiceError

if TYPE_CHECKING:
    import httpx

#: The exit code of what the platform ended, as AWS has it.
PLATFORM_EXIT_CODE = -1

#: Connections in a row that break off before they tell anything.
BREAKS_MAX = 10

_LOST = (
    "The environment ended while the command ran: its outcome is unknown. It may have had a "
    "partial effect, and it was not run again. Files of the session are kept."
)
_STOPPED = "[everloop: the session was stopped while the command ran]\n"
_MEMORY = "[everloop: the command was ended because the environment used too much memory]\n"
_DISK = "[everloop: the command was ended because the files of the session take too much space]\n"
_REST_GONE = "\n[... the rest of the output is not kept ...]\n"


class _Channel:
    """What has been told of one output stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, at: int, data: bytes) -> str:
        """New text; a line says where bytes are left out."""
        marker = ""
        if at > self.offset:
            marker = f"{self.end()}\n[... {at - self.offset} bytes left out ...]\n"
        self.offset = at + len(data)
        return marker + self._decoder.decode(data)

    def end(self) -> str:
        """What is left of a character that was cut."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


class CommandFollower:
    """One client's view of one command."""

    def __init__(self, context: Context, session: str, command_id: str) -> None:
        """Look at a command that has been admitted."""
        self._context = context
        self._session = session
        self._id = command_id
        self._channels = (_Channel("stdout"), _Channel("stderr"))
        self._lines: AsyncGenerator[dict[str, Any]] | None = None

    async def begin(self) -> None:
        """Wait until the command is sent to its environment.

        Raises:
            ServiceError: it was not; nothing was run.
        """
        self._lines = self._tell()
        await anext(self._lines)

    async def frames(self) -> AsyncIterator[bytes]:
        """The stream's bytes as they come, to the command's end."""
        assert self._lines is not None
        yield _chunk({"contentStart": {}})
        try:
            async for line in self._lines:
                for frame in self._frames(line):
                    yield frame
        except ServiceError as error:
            yield stream_error(error.detail.error, error.detail.message).encode()
        except Exception as error:
            detail = unexpected(error)
            yield stream_error(detail.error, detail.message).encode()
        finally:
            await self._lines.aclose()

    async def _tell(self) -> AsyncGenerator[dict[str, Any]]:
        """The host's lines to the last, over as many connections as it takes."""
        import httpx

        breaks = 0
        while True:
            call = HostCall(
                session=self._session,
                method="POST",
                path="/commands",
                params={
                    "id": self._id,
                    **{f"{each.name}_from": each.offset for each in self._channels},
                },
                headers={},
            )
            context = self._context
            # When it dies, or ends, whoever comes in its place goes on with the command.
            with contextlib.suppress(httpx.TransportError):
                async with context.hosts.open(context.store, context.settings, call) as response:
                    async for line in _lines(response):
                        breaks = 0
                        yield line
                        if "end" in line:
                            return
            breaks += 1
            if breaks > BREAKS_MAX:
                raise away(HostAway("the sandbox host breaks off its answers"))
            await asyncio.sleep(AGAIN_S)

    def _frames(self, line: dict[str, Any]) -> list[bytes]:
        if "end" in line:
            return [frame for frame in self._end(line["end"]) if frame]
        if not line:
            return [KEEP_ALIVE.encode()]
        frames: list[bytes] = []
        for channel in self._channels:
            data = base64.b64decode(line[channel.name])
            if text := channel.feed(line[f"{channel.name}_at"], data):
                frames.append(_delta(channel.name, text))
        return frames

    def _end(self, end: dict[str, Any]) -> list[bytes]:
        frames = [_delta(each.name, text) for each in self._channels if (text := each.end())]
        for channel in self._channels:
            if (text := end.get(channel.name)) and channel.offset == 0:
                frames.append(_delta(channel.name, text))
            elif text:
                frames.append(_delta(channel.name, _REST_GONE))
        how, exit_code, status = CommandEnd(end["end"]), end["exit_code"], "COMPLETED"
        match how:
            case CommandEnd.LOST:
                return [*frames, stream_error(AwsError.RUNTIME_CLIENT, _LOST).encode()]
            case CommandEnd.CANCELLED:
                frames.append(_delta("stderr", _STOPPED))
                exit_code = PLATFORM_EXIT_CODE
            case CommandEnd.OUT_OF_MEMORY:
                frames.append(_delta("stderr", _MEMORY))
            case CommandEnd.OUT_OF_DISK:
                frames.append(_delta("stderr", _DISK))
                exit_code = PLATFORM_EXIT_CODE
            case CommandEnd.TIMED_OUT:
                exit_code, status = PLATFORM_EXIT_CODE, "TIMED_OUT"
            case CommandEnd.EXITED:
                pass
        return [*frames, _chunk({"contentStop": {"exitCode": exit_code, "status": status}})]


async def _lines(response: "httpx.Response") -> AsyncGenerator[dict[str, Any]]:
    async for text in response.aiter_lines():
        yield json.loads(text)


def _delta(name: str, text: str) -> bytes:
    return _chunk({"contentDelta": {name: text}})


def _chunk(content: dict[str, Any]) -> bytes:
    return Frame("chunk", content).encode()
