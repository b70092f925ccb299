"""Files of a session by way of a pod whose Python says whatever it likes."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from contracts.errors import EnvironmentUnavailable, ServiceError
from environments import kubernetes_files, sockets
from environments.agentd_scan import NAMES_MAX, TooMuch
from environments.agentd_session_files import LISTED_MAX
from environments.agentd_volume import PIECE
from environments.channel import Streams
from environments.kubernetes_api import ClusterApi
from environments.kubernetes_file_pods import FilePods
from environments.kubernetes_files import ClusterVolume
from environments.session_volume import Content

ENTRY = {"name": "f", "type": "file", "size": 1, "modified_at": 0.0, "executable": False}
FILE = {"size": 3, "etag": f'"{"0" * 32}"', "modified_at": 0.0}


class Pod:
    """Answers every process that is started in it with the same bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.says = b""

    async def exec(self, pod: str, command: tuple[str, ...]) -> Streams:
        return await sockets.connect(self.path)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(self.says)
        writer.write_eof()
        await reader.read()
        writer.close()


class OnePod(FilePods):
    """Has every volume in one place."""

    def __init__(self, volume: str = "/mnt/session") -> None:
        self.operations = asyncio.Semaphore(1)
        self._volume = volume

    @asynccontextmanager
    async def place(self, claim: str, user: int, make: bool) -> AsyncGenerator[tuple[str, str]]:
        yield "pod", self._volume


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    made = Pod(tmp_path / "pod")
    server = await asyncio.start_unix_server(made.serve, made.path)
    yield made
    server.close()


@pytest.fixture
def files(pod: Pod, tmp_path: Path) -> ClusterVolume:
    api = cast(ClusterApi, pod)
    archives = tmp_path / "volumes" / "s"
    return ClusterVolume(api, OnePod(), claim="c", user=1, mount="/mnt/session", archives=archives)


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"no json\n",
        b"[" * 100_000 + b"\n",
        b"x" * 20_000_000,
        b"[]\n",
        b'{"ok": 1}\n',
        {"ok": {"entries": [ENTRY] * (LISTED_MAX + 1), "more": False}},
        {"ok": {"entries": [{**ENTRY, "type": "device"}], "more": False}},
        {"ok": {"entries": [{**ENTRY, "size": -1}], "more": False}},
        {"ok": {"entries": [{**ENTRY, "name": "n" * 256}], "more": False}},
        {"ok": {**FILE, "size": 2**60}},
        {"ok": {**FILE, "etag": '"a"\r\nSet-Cookie: b"'}},
        {"error": "AccessDeniedException", "field": None, "message": ""},
        {"error": "ValidationException", "field": "x" * 70, "message": ""},
        {"error": "ValidationException", "field": None, "message": "x" * 10_000},
    ],
)
async def test_an_answer_that_is_not_as_it_must_be_is_no_answer(
    pod: Pod, files: ClusterVolume, says: bytes | dict[str, object]
) -> None:
    pod.says = says if isinstance(says, bytes) else json.dumps(says).encode() + b"\n"
    with pytest.raises(EnvironmentUnavailable, match="cannot be reached now"):
        async with files.look(".", ""):
            pass


async def test_a_file_has_the_bytes_that_were_told_and_no_more(
    pod: Pod, files: ClusterVolume
) -> None:
    async def content() -> bytes:
        async with files.look("f", "") as found:
            assert isinstance(found, Content)
            return b"".join([data async for data in found.pieces(0, found.size)])

    line = json.dumps({"ok": FILE}).encode() + b"\n"
    pod.says = line + b"abcdef"
    assert await content() == b"abc"
    pod.says = line + b"ab"
    with pytest.raises(EnvironmentUnavailable):
        await content()


async def test_an_archive_is_bounded_and_leaves_nothing_when_it_breaks(
    pod: Pod, files: ClusterVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_files, "ARCHIVE_BYTES", 1000)
    into = tmp_path / "archive"
    pod.says = (PIECE.pack(500) + bytes(500)) * 3
    with pytest.raises(ServiceError, match="too large"):
        await files.pack(into)
    into.unlink()
    for says in (PIECE.pack(2**31), PIECE.pack(10) + b"short", PIECE.pack(0) + b'{"ok": {}}\n'):
        pod.says = says
        with pytest.raises(EnvironmentUnavailable):
            await files.pack(into)
        into.unlink()


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"[]",
        b'{"f": [1, 2, 3]}',
        b'{"f": [1, -2, 3, 4]}',
        b'{"f": [1, 2, 3, 1e99]}',
        b'{"a\\u0000b": [1, 2, 3, 4]}',
        b'{"\\u0100": [1, 2, 3, 4]}',
        b'{"\xff": [1, 2, 3, 4]}',
        json.dumps({str(number): [1, 1, 1, 1] for number in range(NAMES_MAX + 1)}).encode(),
    ],
)
async def test_a_look_that_finds_no_files_finds_nothing(
    pod: Pod, files: ClusterVolume, says: bytes
) -> None:
    pod.says = PIECE.pack(len(says)) + says + PIECE.pack(0) + b'{"ok": null}\n' if says else b""
    with pytest.raises(EnvironmentUnavailable):
        await files.scan()


async def test_a_look_is_bounded_and_says_why_it_was_not_made(
    pod: Pod, files: ClusterVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_files, "SCAN_BYTES", 1000)
    pod.says = (PIECE.pack(500) + bytes(500)) * 3
    with pytest.raises(TooMuch, match="too long"):
        await files.scan()
    why = {"error": "ServiceQuotaExceededException", "field": None, "message": "x" * 8000}
    pod.says = PIECE.pack(0) + json.dumps(why).encode() + b"\n"
    with pytest.raises(TooMuch) as much:
        await files.scan()
    assert str(much.value) == "x" * kubernetes_files.WHY_CHARACTERS


async def test_a_look_is_not_waited_for_long(
    pod: Pod, files: ClusterVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> Streams:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(pod, "exec", never)
    monkeypatch.setattr(kubernetes_files, "SCAN_S", 0.05)
    with pytest.raises(EnvironmentUnavailable, match="takes more than"):
        await files.scan()


@pytest.mark.parametrize("says", [[], ["0" * 63], ["0" * 64, None], [1], {}])
async def test_checksums_are_as_many_as_files_and_no_other_text(
    pod: Pod, files: ClusterVolume, says: object
) -> None:
    pod.says = json.dumps({"ok": says}).encode() + b"\n"
    with pytest.raises(EnvironmentUnavailable):
        await files.checksums([("f", (1, 1, 1, 1))])
