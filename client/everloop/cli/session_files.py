"""A session's files over HTTP: listed, fetched by ranges, sent in parts that can be resumed."""

import hashlib
import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from everloop.cli.connection import Connection
from everloop.cli.errors import ApiError, CommandError
from everloop.cli.own_api import CONNECT_S, ERROR_HEADER, PREFIX, Json, signer
from everloop.cli.reach import Unreachable, reaching
from everloop.cli.session_names import SessionName

#: One part of a file, either way; the API takes bodies of up to 6 MiB.
PART_BYTES = 4 * 1024**2
#: Seconds for one answer: the last one of an upload waits for a checksum over all of it.
ANSWER_S = 60
#: Tries of one request when the connection breaks.
TRIES = 6
TRY_AGAIN_S = 1.0


class SessionFiles:
    """The files of one session."""

    def __init__(self, connection: Connection, session: SessionName) -> None:
        """Prepare; nothing is sent yet."""
        self._connection = connection
        ids = (session.harness_id, session.session_id)
        harness, name = (quote(each, safe="") for each in ids)
        base = connection.data_url.rstrip("/")
        self._url = f"{base}{PREFIX}/harnesses/{harness}/sessions/{name}/files"

    def list(self, path: str) -> Iterator[Json]:
        """The entries of a directory.

        Raises:
            ApiError: there is none.
            CommandError: it is a file.
        """
        query = {"path": path}
        while True:
            answer = self._send("GET", query)
            if "content-disposition" in answer.headers:
                raise CommandError(f"{path} is a file")
            told: Json = json.loads(answer.content)
            yield from told["entries"]
            if "nextStartAfter" not in told:
                return
            query["startAfter"] = told["nextStartAfter"]

    def get(self, path: str, into: BinaryIO) -> int:
        """Write a file's bytes; how many.

        Raises:
            ApiError: there is none, or it changed meanwhile.
            CommandError: it is a directory.
        """
        done, headers = 0, dict[str, str]()
        while True:
            headers["range"] = f"bytes={done}-{done + PART_BYTES - 1}"
            answer = self._send("GET", {"path": path}, headers=headers)
            if "content-disposition" not in answer.headers:
                raise CommandError(f"{path} is a directory")
            headers["if-match"] = answer.headers["etag"]
            into.write(answer.content)
            done += len(answer.content)
            _, _, size = answer.headers.get("content-range", f"/{done}").rpartition("/")
            if done >= int(size):
                return done

    def put(self, source: Path, path: str) -> Json:
        """Send a file; what it is in the session. Sent again after a break, it goes on from there.

        Raises:
            ApiError: the path or the size is refused, or the volume is full.
        """
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, 2)
            if size <= PART_BYTES:
                file.seek(0)
                query = {"path": path, "sha256": digest}
                return json.loads(self._send("PUT", query, body=file.read()).content)["file"]
            named = hashlib.sha256(f"{path}\0{digest}".encode()).hexdigest()
            upload_id = f"cli-{named[:40]}"
            offset = self._uploaded(upload_id)
            while offset < size:
                file.seek(offset)
                query = {"uploadId": upload_id, "offset": str(offset)}
                part = self._send("PUT", query, body=file.read(PART_BYTES))
                offset = json.loads(part.content)["offset"]
        change = {"uploadId": upload_id, "size": size, "sha256": digest}
        answer = self._send("POST", {"path": path}, body=json.dumps(change).encode())
        return json.loads(answer.content)["file"]

    def remove(self, path: str, *, recursive: bool) -> None:
        """Remove a file or directory.

        Raises:
            ApiError: there is none, or it is a directory that is not empty.
        """
        self._send("DELETE", {"path": path, "recursive": str(recursive).lower()})

    def _uploaded(self, upload_id: str) -> int:
        try:
            return json.loads(self._send("GET", {"uploadId": upload_id}).content)["offset"]
        except ApiError as error:
            # The session begins with its first file.
            if error.name == "ResourceNotFoundException":
                return 0
            raise

    def _send(
        self,
        method: str,
        query: dict[str, str],
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        for _ in range(TRIES - 1):
            try:
                return self._once(method, query, body, headers or {})
            except Unreachable:
                time.sleep(TRY_AGAIN_S)
        return self._once(method, query, body, headers or {})

    def _once(
        self, method: str, query: dict[str, str], body: bytes | None, headers: dict[str, str]
    ) -> Any:
        request_module: Any = importlib.import_module("botocore.awsrequest")
        http: Any = importlib.import_module("botocore.httpsession")
        url = f"{self._url}?{urlencode(query, quote_via=quote)}"
        sent = {"accept": "*/*", "accept-encoding": "identity", **headers}
        request = request_module.AWSRequest(method, url, headers=sent, data=body)
        signer(self._connection).add_auth(request)
        client = http.URLLib3Session(timeout=(CONNECT_S, ANSWER_S))
        try:
            with reaching(self._connection.data_url):
                answer = client.send(request.prepare())
                content: bytes = answer.content
        finally:
            client.close()
        if answer.status_code >= 400:
            told: Json = json.loads(content or b"{}")
            name = answer.headers.get(ERROR_HEADER) or f"HTTP {answer.status_code}"
            raise ApiError(name, told.get("message") or "(no message)")
        return answer
