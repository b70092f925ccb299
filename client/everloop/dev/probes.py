"""How to tell that a process serves. A probe never waits long: the supervisor asks again."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from everloop.dev.ports import LOOPBACK
from everloop.dev.spec import Probe

#: Seconds that one question may take; everything is on this machine.
ANSWER_S = 2.0
#: More than the status line of any answer.
STATUS_LINE_BYTES = 1024


class _Said(BaseModel):
    pid: int


def listens(port: int) -> Probe:
    """Ready when something accepts connections on the port."""

    async def probe(pid: int) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return probe


def answers_ping(port: int) -> Probe:
    """Ready when `GET /ping` on the port answers with status 200."""

    async def probe(pid: int) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                request = f"GET /ping HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                status = await reader.read(STATUS_LINE_BYTES)
                writer.close()
        except (OSError, TimeoutError):
            return False
        return status.split(b" ")[1:2] == [b"200"]

    return probe


def serves_temporal(binary: str, port: int, env: Mapping[str, str]) -> Probe:
    """Ready when the Temporal frontend on the port describes the namespace `default`.

    It asks through the `temporal` command, which is at hand and much lighter than a client here.
    """
    accepts = listens(port)

    async def probe(pid: int) -> bool:
        if not await accepts(pid):
            return False
        question = await asyncio.create_subprocess_exec(
            *(binary, "operator", "namespace", "describe", "--namespace", "default"),
            *("--address", f"{LOOPBACK}:{port}", "--command-timeout", f"{ANSWER_S}s"),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return await question.wait() == 0
        finally:
            if question.returncode is None:
                question.kill()

    return probe


def wrote_pid(path: Path) -> Probe:
    """Ready when the process has written `{"pid": <its own>}` to the file."""

    async def probe(pid: int) -> bool:
        try:
            said = _Said.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return False
        return said.pid == pid

    return probe
