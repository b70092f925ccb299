"""The host's side against an agentd that a command has replaced."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from contracts.errors import EnvironmentRefused
from environments import channel, sockets
from environments.channel import AgentChannel

Serve = Callable[[bytes], Awaitable[AgentChannel]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> AgentChannel:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.close()

        # Longer than the 108 bytes of a socket address.
        directory = tmp_path / ("long" * 30)
        directory.mkdir(exist_ok=True)
        listener = sockets.listen(directory / "s")
        servers.append(await asyncio.start_unix_server(talk, sock=listener))
        return AgentChannel(lambda: sockets.connect(directory / "s"))

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no newline",
        b"not json\n",
        b"[" * 100_000 + b"\n",
        b"[]\n",
        b'{"ok": true}\n',
        b'{"ok": true, "result": {"boot_id": "../x", "uptime_s": 1, "idle_s": 1, "running": 0, '
        b'"processes": 0}}\n',
        b'{"ok": true, "result": {"boot_id": "00000000000000000000000000000000", "uptime_s": "1", '
        b'"idle_s": 1, "running": 0, "processes": 0}}\n',
        b"\xff\xfe\n",
    ],
)
async def test_what_breaks_the_protocol_is_a_broken_connection(serve: Serve, answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        await (await serve(answer)).info()


async def test_an_answer_has_a_bound(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "ANSWER_BYTES", 1024)
    with pytest.raises(ConnectionError):
        await (await serve(b'"' + b"x" * 5000 + b'"\n')).info()


async def test_an_unknown_end_of_a_command_is_refused(serve: Serve) -> None:
    agent = await serve(
        b'{"ok": true, "result": {"end": "vanished", "exit_code": 0, "stdout": "", "stderr": "", '
        b'"left_out_bytes": 0, "output_file": null, "background": false}}\n'
    )
    with pytest.raises(ConnectionError, match="unknown end"):
        await agent.exec("a", "true", timeout_s=1, output_bytes=10)


async def test_silence_has_an_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "QUICK_S", 0.1)
    listener = sockets.listen(Path("/tmp") / f"silent-{id(serve)}")
    path = Path("/tmp") / f"silent-{id(serve)}"
    try:
        with pytest.raises(TimeoutError):
            await AgentChannel(lambda: sockets.connect(path)).info()
    finally:
        listener.close()
        path.unlink()


async def test_a_refusal_has_agentds_code(serve: Serve) -> None:
    agent = await serve(b'{"ok": false, "error": "busy", "message": "later"}\n')
    with pytest.raises(EnvironmentRefused, match="later") as caught:
        await agent.info()
    assert caught.value.code == "busy"


async def test_no_socket_is_a_broken_connection(tmp_path: Path) -> None:
    for path in (tmp_path / "s", tmp_path / "none" / "s"):
        with pytest.raises(ConnectionError):
            await sockets.connect(path)
