"""An HTTP server on loopback that answers as a script says, with AWS's event-stream frames."""

import json
import struct
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

HARNESS = {
    "harnessId": "helper-abcdefghij",
    "harnessName": "helper",
    "arn": "arn:aws:bedrock-agentcore:us-east-1:000000000000:harness/helper-abcdefghij",
    "status": "READY",
    "harnessVersion": "1",
    "createdAt": "2026-01-02T03:04:05Z",
    "updatedAt": "2026-01-02T03:04:05Z",
}


class ScriptedApi:
    """Serves one harness until it is deleted, and the next of `streams` for each InvokeHarness.

    A script is a list of (event name, body); `exception:Name` sends an exception, `cut` closes the
    connection. `answered` is what CreateHarness answers otherwise, `shown` what GetHarness does.
    `refusals` are (status, error name, message), used before any stream.
    """

    def __init__(self) -> None:
        self.deleted = False
        self.answered: Json = {}
        self.shown: Json = {}
        self.streams: list[list[tuple[str, Json]]] = []
        self.refusals: list[tuple[int, str, str]] = []
        self.requests: list[tuple[str, str, dict[str, str], Json]] = []
        self.url = ""

    @property
    def invocations(self) -> list[tuple[dict[str, str], Json]]:
        return [
            (headers, body)
            for _, path, headers, body in self.requests
            if path.startswith("/harnesses/invoke")
        ]


@contextmanager
def serve() -> Generator[ScriptedApi]:
    api = ScriptedApi()

    class Handler(_Handler):
        script = api

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: ScriptedApi

    def do_GET(self) -> None:
        self._note({})
        if self.path.startswith("/harnesses?") or self.path == "/harnesses":
            self._json(200, {"harnesses": [] if self.script.deleted else [HARNESS]})
        elif self.script.deleted:
            gone = {"x-amzn-errortype": "ResourceNotFoundException"}
            self._json(404, {"message": "it does not exist"}, gone)
        else:
            self._json(200, {"harness": HARNESS | self.script.shown})

    def do_DELETE(self) -> None:
        self._note({})
        self.script.deleted = True
        self._json(200, {"harness": HARNESS | {"status": "DELETING"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._note(body)
        if self.script.refusals:
            status, name, message = self.script.refusals.pop(0)
            self._json(status, {"message": message}, {"x-amzn-errortype": name})
        elif self.path.startswith("/harnesses/invoke"):
            self._stream(self.script.streams.pop(0))
        else:
            self._json(201, {"harness": HARNESS | self.script.answered})

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def _note(self, body: Json) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.script.requests.append((self.command, self.path, headers, body))

    def _json(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def _stream(self, script: list[tuple[str, Json]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for name, body in script:
            if name == "cut":
                self.close_connection = True
                return
            frame = _frame(name, body)
            self.wfile.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


def _frame(name: str, body: Json) -> bytes:
    kind, _, error = name.partition(":")
    if kind == "exception":
        headers = {":message-type": "exception", ":exception-type": error}
    else:
        headers = {":message-type": "event", ":event-type": name}
    headers[":content-type"] = "application/json"
    coded = b"".join(
        struct.pack(f">B{len(key)}sBH", len(key), key.encode(), 7, len(value)) + value.encode()
        for key, value in headers.items()
    )
    payload = json.dumps(body).encode()
    prelude = struct.pack(">II", 16 + len(coded) + len(payload), len(coded))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + coded + payload
    return message + struct.pack(">I", zlib.crc32(message))


def text_message(*pieces: str, stop: str = "end_turn") -> list[tuple[str, Json]]:
    """An assistant message of text, and its metadata."""
    return [
        ("messageStart", {"role": "assistant"}),
        *(
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": one}})
            for one in pieces
        ),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": stop}),
        metadata(),
    ]


def call_message(*calls: tuple[str, str, Json]) -> list[tuple[str, Json]]:
    """An assistant message of tool calls (id, name, arguments), and its metadata."""
    events: list[tuple[str, Json]] = [("messageStart", {"role": "assistant"})]
    for index, (id_, name, arguments) in enumerate(calls):
        text = json.dumps(arguments)
        start = {"toolUse": {"toolUseId": id_, "name": name}}
        events.append(("contentBlockStart", {"contentBlockIndex": index, "start": start}))
        events += [
            (
                "contentBlockDelta",
                {"contentBlockIndex": index, "delta": {"toolUse": {"input": part}}},
            )
            for part in (text[:3], text[3:])
            if part
        ]
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    return [*events, ("messageStop", {"stopReason": "tool_use"}), metadata()]


def result_message(*results: tuple[str, str, list[str]]) -> list[tuple[str, Json]]:
    """A user message of tool results (id, status, pieces of text)."""
    events: list[tuple[str, Json]] = [("messageStart", {"role": "user"})]
    for index, (id_, status, pieces) in enumerate(results):
        start = {"toolResult": {"toolUseId": id_, "status": status}}
        events.append(("contentBlockStart", {"contentBlockIndex": index, "start": start}))
        events += [
            (
                "contentBlockDelta",
                {"contentBlockIndex": index, "delta": {"toolResult": [{"text": one}]}},
            )
            for one in pieces
        ]
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    return [*events, ("messageStop", {"stopReason": "tool_result"})]


def metadata() -> tuple[str, Json]:
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    return ("metadata", {"usage": usage, "metrics": {"latencyMs": 7}})
