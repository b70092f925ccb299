"""The logs of the processes."""

from pathlib import Path

#: A log larger than this is moved aside when its process is first started.
ROTATE_BYTES = 5 * 1024 * 1024
#: How much of a log's end is read to find its last lines.
TAIL_BYTES = 16 * 1024
#: How many lines of a log a failure shows.
TAIL_LINES = 15


def rotate(path: Path) -> None:
    """Move a log that has grown too large to `<name>.log.1`, over the one before."""
    if path.exists() and path.stat().st_size > ROTATE_BYTES:
        path.replace(path.with_name(path.name + ".1"))


def size(path: Path) -> int:
    """Bytes in the log now."""
    return path.stat().st_size if path.exists() else 0


def tail(path: Path, *, since: int = 0, lines: int = TAIL_LINES) -> list[str]:
    """The last lines that are not blank, at most `lines`, written after byte `since`."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(since, path.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
