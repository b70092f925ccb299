"""Which files of a session are others than before."""

import asyncio
import os
from collections.abc import Mapping

from contracts.turn_files import LISTED_MAX, FileChange, FileChangeKind, TurnFiles
from environments.agentd_scan import Files, Signature
from environments.file_times import moment
from environments.session_volume import SessionVolume

#: A file of which a checksum is made, and bytes of all of one list.
HASHED_BYTES, HASHED_TOTAL_BYTES = 4 * 1024**2, 32 * 1024**2
#: Characters of all paths that one list names.
PATH_CHARACTERS = 256 * 1024

#: The checksum of a file that has a signature, as far as one was made.
Checksums = dict[tuple[str, Signature], str]


async def compare(
    where: SessionVolume, before: Mapping[str, Signature], now: Files, sums: Checksums
) -> TurnFiles:
    """What became of a session's files.

    Args:
        where: they are.
        before: as they were.
        now: as they are.
        sums: checksums of an earlier comparison, which those of this one replace.

    Raises:
        OSError, ServiceError, EnvironmentUnavailable: they cannot be reached.
    """
    kinds, paths = await asyncio.to_thread(_differences, before, now)
    small: list[tuple[str, Signature]] = []
    hashed = 0
    for path in paths:
        signature = now.get(path)
        if signature is None:
            continue
        size = signature[1]
        if size <= HASHED_BYTES and hashed + size <= HASHED_TOTAL_BYTES:
            hashed += size
            small.append((path, signature))
    missing = [each for each in small if each not in sums]
    made = dict(zip(missing, await where.checksums(missing), strict=True)) if missing else {}
    known = {each: sums.get(each) or made.get(each) for each in small}
    sums.clear()
    sums.update({each: digest for each, digest in known.items() if digest is not None})
    digests = {path: digest for (path, _), digest in sums.items()}
    listed = [_change(path, kinds[path], now.get(path), digests.get(path)) for path in paths]
    listed.sort(key=lambda each: each.path)
    numbers = [list(kinds.values()).count(kind) for kind in FileChangeKind]
    return TurnFiles(
        created=numbers[0], changed=numbers[1], removed=numbers[2], files=tuple(listed)
    )


def _differences(
    before: Mapping[str, Signature], now: Files
) -> tuple[dict[str, FileChangeKind], list[str]]:
    """What became of each file that is not as it was, and those of them that a list names."""
    kinds = {path: FileChangeKind.REMOVED for path in before.keys() - now.keys()}
    kinds |= {path: FileChangeKind.CREATED for path in now.keys() - before.keys()}
    changed = (path for path in before.keys() & now.keys() if before[path] != now[path])
    kinds |= dict.fromkeys(changed, FileChangeKind.CHANGED)
    paths: list[str] = []
    characters = 0
    for path in sorted(kinds)[:LISTED_MAX]:
        characters += len(path)
        if characters > PATH_CHARACTERS:
            break
        paths.append(path)
    return kinds, paths


def _change(
    path: str, kind: FileChangeKind, signature: Signature | None, digest: str | None
) -> FileChange:
    shown = os.fsencode(path).decode("utf-8", "replace")
    if signature is None:
        return FileChange(shown, kind)
    return FileChange(shown, kind, signature[1], moment(signature[2] // 10**9), digest)
