"""`file_operations` inside the sandbox: view, create, str_replace, insert.

Every failure that the caller could have avoided is a text that starts with `Error: `, because the
model reads it. Writes go to a temporary file, are flushed to disk and renamed: a reader sees the
old text or the new, and a crash leaves one of them.
"""

from __future__ import annotations

import os
import stat
from typing import Any

#: A file beyond this is not read into memory; the shell can cut it.
FILE_BYTES = 8 * 1024**2
#: What one view shows; the rest is had with `view_range`.
VIEW_BYTES = 64 * 1024
#: Names that a view of a directory shows.
NAMES_MAX = 2000


class Refused(Exception):
    """The operation cannot be done; the text tells the model why."""


def operate(request: dict[str, Any], mount: str) -> str:
    """Do one operation.

    Args:
        request: `command`, `path`, and what the command needs of `old_str`, `new_str`, `file_text`,
            `insert_line`, `view_range`; already checked for their types.
        mount: what relative paths start from.

    Returns:
        The tool's text, `Error: ...` when it could not be done.
    """
    # Joining leaves an absolute path as it is.
    path = os.path.join(mount, request["path"])
    try:
        return _COMMANDS[request["command"]](request, path)
    except Refused as refusal:
        return f"Error: {refusal}"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"Error: {reason}: '{request['path']}'"


def _view(request: dict[str, Any], path: str) -> str:
    if os.path.isdir(path):
        names = sorted(os.listdir(path))
        if len(names) > NAMES_MAX:
            return "\n".join([*names[:NAMES_MAX], f"[... {len(names) - NAMES_MAX} more names ...]"])
        return "\n".join(names)
    lines = _lines(_read(request, path).decode("utf-8", "replace"))
    first, last = 1, len(lines)
    if request.get("view_range") is not None:
        first, last = request["view_range"]
        if last == -1:
            last = len(lines)
        if not 1 <= first <= max(1, len(lines)) or last < first - 1:
            raise Refused(
                f"view_range must be [start, end] with start from 1 to {max(1, len(lines))} "
                "and end not before start, or -1 for the end of the file"
            )
    shown: list[str] = []
    size = 0
    for number, line in enumerate(lines[first - 1 : last], first):
        text = f"{number}: {line}"
        size += len(text.encode()) + 1
        if size > VIEW_BYTES:
            shown.append(_cut(text, number, first, min(last, len(lines))))
            break
        shown.append(text)
    return "\n".join(shown).replace("\0", "\ufffd")


def _cut(text: str, number: int, first: int, last: int) -> str:
    if number == first:
        head = text.encode()[: VIEW_BYTES // 2].decode("utf-8", "ignore")
        return f"{head}\n[... line {number} is too long to show; use the shell to cut it ...]"
    rest = f"[{number}, {last}]"
    return f"[... {last - number + 1} lines left out; view them with view_range {rest} ...]"


def _create(request: dict[str, Any], path: str) -> str:
    text = _need(request, "file_text")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _write(path, text.encode())
    return f"Successfully created file '{request['path']}'"


def _str_replace(request: dict[str, Any], path: str) -> str:
    old, new = _need(request, "old_str"), _need(request, "new_str")
    if not old:
        raise Refused("old_str must not be empty")
    text = _text(request, path)
    count = text.count(old)
    if count == 0:
        raise Refused("Text not found in file")
    if count > 1:
        raise Refused(f"Text appears {count} times in file. Please be more specific.")
    _write(path, text.replace(old, new).encode())
    return f"Successfully replaced text in '{request['path']}'"


def _insert(request: dict[str, Any], path: str) -> str:
    new = _need(request, "new_str")
    line = request.get("insert_line")
    if line is None:
        raise Refused("insert_line is required for insert")
    lines = _text(request, path).split("\n")
    if not 0 <= line <= len(lines):
        raise Refused(f"insert_line must be from 0 to {len(lines)}, not {line}")
    lines.insert(line, new)
    _write(path, "\n".join(lines).encode())
    return f"Successfully inserted text in '{request['path']}' at line {line + 1}"


_COMMANDS = {
    "view": _view,
    "create": _create,
    "str_replace": _str_replace,
    "insert": _insert,
}
COMMANDS = frozenset(_COMMANDS)


def _need(request: dict[str, Any], name: str) -> str:
    value = request.get(name)
    if value is None:
        raise Refused(f"{name} is required for {request['command']}")
    return value


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _text(request: dict[str, Any], path: str) -> str:
    try:
        return _read(request, path).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"'{request['path']}' is not UTF-8 text") from None


def _read(request: dict[str, Any], path: str) -> bytes:
    # Without O_NONBLOCK a named pipe would hold up the daemon for good.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"'{request['path']}' is not a regular file")
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise Refused(f"'{request['path']}' is larger than {FILE_BYTES} bytes; use the shell")
    return data


def _write(path: str, data: bytes) -> None:
    # A link stays a link: its target is replaced.
    path = os.path.realpath(path)
    mode = 0o644
    if os.path.exists(path):
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("not a regular file")
        mode = stat.S_IMODE(status.st_mode)
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
