"""The frames of `application/vnd.amazon.eventstream`, as AWS's SDKs decode them.

A frame is a prelude (total length, header length, CRC-32 of both), headers, a payload and the
CRC-32 of all before it. Numbers are big-endian; only string headers occur.
"""

import json
from collections.abc import Mapping
from struct import pack
from typing import Any
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"

#: The header type that says string.
_STRING = 7
#: Bytes of a frame beside its headers and payload.
_FRAME_BYTES = 16


def event(name: str, payload: Mapping[str, Any]) -> bytes:
    """An event frame.

    Args:
        name: the member of the stream's union, as `messageStart`.
        payload: the event's structure, ready for JSON.
    """
    return _json_frame({":event-type": name, ":message-type": "event"}, payload)


def exception(name: str, payload: Mapping[str, Any]) -> bytes:
    """A frame that ends the stream with an error.

    Args:
        name: the member of the stream's union, as `runtimeClientError`.
        payload: the error's structure, ready for JSON.
    """
    return _json_frame({":exception-type": name, ":message-type": "exception"}, payload)


def _json_frame(headers: dict[str, str], payload: Mapping[str, Any]) -> bytes:
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return encode({**headers, ":content-type": "application/json"}, body.encode())


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame with string headers."""
    block = b"".join(
        pack("!B", len(name)) + name + pack("!BH", _STRING, len(value)) + value
        for name, value in ((name.encode(), value.encode()) for name, value in headers.items())
    )
    prelude = pack("!II", _FRAME_BYTES + len(block) + len(payload), len(block))
    frame = prelude + pack("!I", crc32(prelude)) + block + payload
    return frame + pack("!I", crc32(frame))
