"""Does one thing with a session's files, for a host that cannot reach their volume.

It is started in the environment, or in a pod that has nothing but the volume, as a process of its
own: arguments are where the volume is, where commands see it, and the user to become. It reads one
line of JSON, `op` and its members, then `body` bytes; it answers with one line, `{"ok": result}` or
`{"error", "field", "message"}`.

After the line of a file that is `read` another line `{"start", "end"}` is read, and those bytes
follow. `pack` and `scan` are answered by pieces, each with its length in four bytes before it; a
length of zero ends them, and a line follows as for every other.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from environments import agentd_restore, agentd_scan
from environments import agentd_session_files as files
from environments.agentd_archive import pack, unpack
from environments.agentd_beneath import QUOTA, Beneath, VolumeError
from environments.agentd_init import hide

#: A request's line.
LINE_BYTES = 64 * 1024
#: A body that is kept in memory: a part of an upload.
BODY_BYTES = 6 * 1024**2
PIECE = struct.Struct("!I")


class _Body:
    """What follows a request's line."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source = source
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _Pieces:
    """Sends what is written to it, each with its length."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into = into
        self._at = 0

    def write(self, data: bytes) -> int:
        if data:
            self._into.write(PIECE.pack(len(data)) + bytes(data))
            self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._into.flush()


def main() -> None:
    """Do what is asked, and end."""
    volume, mount, user = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    # Commands have this user too.
    hide()
    os.umask(0o022)
    source, into = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(source.readline(LINE_BYTES))
    try:
        result = _do(request, Beneath(Path(volume), user, mount), volume, source, into)
    except VolumeError as error:
        answer = {"error": error.error, "field": error.field, "message": error.message}
    except OSError as error:
        answer = {"error": QUOTA, "field": None, "message": f"It cannot be done: {error.strerror}."}
    else:
        answer = {"ok": result}
    _say(into, answer)


def _say(into: IO[bytes], answer: dict[str, Any]) -> None:
    into.write(json.dumps(answer).encode() + b"\n")
    into.flush()


def _do(
    request: dict[str, Any], where: Beneath, volume: str, source: IO[bytes], into: IO[bytes]
) -> Any:
    op, size = request["op"], int(request["body"])
    if op == "unpack":
        unpack(_Body(source, size), Path(agentd_restore.prepare(volume)), where.user)  # pyright: ignore[reportArgumentType]
        return None
    if op == "put_in_place":
        agentd_restore.put_in_place(volume)
        return None
    if op == "pack":
        try:
            return asdict(pack(Path(volume), _Pieces(into)))  # pyright: ignore[reportArgumentType]
        finally:
            into.write(PIECE.pack(0))
    if op == "scan":
        return _scan(volume, into)
    if op == "look":
        return _look(request, where, source, into)
    body = source.read(min(size, BODY_BYTES))
    if op == "checksums":
        asked = [(agentd_scan.path_of(name), tuple(found)) for name, found in json.loads(body)]
        return agentd_scan.checksums(Path(volume), asked)  # pyright: ignore[reportArgumentType]
    return _changed(request, where, body)


def _scan(volume: str, into: IO[bytes]) -> None:
    try:
        found = agentd_scan.scan(Path(volume))
        names = {agentd_scan.name_of(path): signature for path, signature in found.items()}
        data, pieces = json.dumps(names, ensure_ascii=False).encode(), _Pieces(into)
        for at in range(0, len(data), files.CHUNK):
            pieces.write(data[at : at + files.CHUNK])
    except agentd_scan.TooMuch as much:
        raise VolumeError(QUOTA, str(much)) from much
    finally:
        into.write(PIECE.pack(0))


def _look(request: dict[str, Any], where: Beneath, source: IO[bytes], into: IO[bytes]) -> Any:
    found = files.look(where, request["path"], request["start_after"])
    if isinstance(found, files.Listing):
        return {"entries": [asdict(each) for each in found.entries], "more": found.more}
    shown = {"size": found.size, "etag": found.etag, "modified_at": found.modified_at}
    with open(found.fd, "rb", buffering=0) as file:
        _say(into, {"ok": shown})
        asked = source.readline(LINE_BYTES)
        if asked:
            part = json.loads(asked)
            os.lseek(file.fileno(), part["start"], os.SEEK_SET)
            _copy(file, into, part["end"] - part["start"])
    into.flush()
    sys.exit(0)


def _copy(file: IO[bytes], into: IO[bytes], left: int) -> None:
    """Send so many bytes; fewer when the file has become shorter, which the other side sees."""
    while left > 0:
        data = file.read(min(files.CHUNK, left))
        if not data:
            return
        into.write(data)
        left -= len(data)


def _changed(asked: dict[str, Any], where: Beneath, body: bytes) -> Any:
    op = asked["op"]
    if op == "write":
        return asdict(files.write(where, asked["path"], body, sha256=asked["sha256"]))
    if op == "part":
        return files.write_part(where, asked["upload"], asked["offset"], body)
    if op == "uploaded":
        return files.uploaded(where, asked["upload"])
    if op == "finish":
        size, sha256 = asked["size"], asked["sha256"]
        return asdict(files.finish(where, asked["path"], asked["upload"], size=size, sha256=sha256))
    if op == "directory":
        return files.make_directory(where, asked["path"])
    return files.remove(where, asked["path"], recursive=asked["recursive"])
