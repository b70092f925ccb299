"""Sessions from outside of a turn, over HTTP: find, read, watch, cancel, fork and delete them.

Needs the extra `everloop[cli]`, whose boto3 finds the credentials to sign with. Answers are the
API's JSON as dictionaries; docs/sessions.md describes them.
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everloop.cli.connection import Connection
    from everloop.session_events import SessionEvent

Json = dict[str, Any]

#: Seconds between two looks at a deletion.
POLL_S = 0.5
#: Seconds for which a fork's files are waited for: as many as a snapshot may have take minutes.
COPY_S = 900.0


@dataclass(frozen=True)
class Sessions:
    """The sessions of an Everloop.

    Every method raises `everloop.cli.errors.ApiError` when the API refuses, with AWS's name of the
    error as `name`, and `everloop.cli.errors.CommandError` when it cannot be reached.

    Attributes:
        connection: where the API is.
    """

    connection: "Connection"

    @classmethod
    def at(cls, endpoint_url: str, *, region: str = "us-east-1") -> "Sessions":
        """The sessions behind an API's address, as `http://127.0.0.1:8080`."""
        from everloop.cli.connection import Connection

        return cls(Connection(endpoint_url, endpoint_url, region))

    @classmethod
    def over(cls, connection: "Connection") -> "Sessions":
        """The sessions behind a connection."""
        return cls(connection)

    def list(
        self,
        harness_id: str | None = None,
        *,
        state: str | None = None,
        actor_id: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[Json]:
        """Sessions, newest first, page by page as they are taken.

        Args:
            harness_id: only those of this harness.
            state: only those that are `running`, `waiting` for people, or `idle`.
            actor_id: only those that this actor began.
            created_after: only younger ones.
            created_before: only older ones.
        """
        given = {
            "state": state,
            "actorId": actor_id,
            "createdAfter": created_after and created_after.isoformat(),
            "createdBefore": created_before and created_before.isoformat(),
        }
        where = ("harnesses", harness_id, "sessions") if harness_id else ("sessions",)
        return self._pages("sessions", *where, query=given)

    def get(self, harness_id: str, session_id: str) -> Json:
        """A session: `state`, `runningInvocationId`, `messages`, `usage`, `pendingCalls`."""
        return self._send("GET", *_session(harness_id, session_id))

    def invocations(self, harness_id: str, session_id: str) -> Iterator[Json]:
        """A session's invocations, oldest first."""
        return self._pages("invocations", *_session(harness_id, session_id), "invocations")

    def invocation(self, harness_id: str, session_id: str, invocation_id: str) -> Json:
        """An invocation; `files` tells what its tool calls did to the session's files."""
        place = (*_session(harness_id, session_id), "invocations", invocation_id)
        return self._send("GET", *place)

    def invocation_files(
        self, harness_id: str, session_id: str, invocation_id: str
    ) -> Iterator[Json]:
        """The files that an invocation's tool calls created, changed or removed, by path."""
        place = (*_session(harness_id, session_id), "invocations", invocation_id, "files")
        asked: dict[str, str] = {}
        while True:
            page = self._send("GET", *place, query=asked)
            yield from page["entries"]
            if "nextStartAfter" not in page:
                return
            asked["startAfter"] = page["nextStartAfter"]

    def transcript(self, harness_id: str, session_id: str, *, after_seq: int = 0) -> Iterator[Json]:
        """A session's messages behind `after_seq`, oldest first, page by page as they are taken."""
        place = (*_session(harness_id, session_id), "transcript")
        seq: int | None = after_seq
        while seq is not None:
            page = self._send("GET", *place, query={"after_seq": str(seq)})
            yield from page["messages"]
            seq = page["nextSeq"]

    def export(self, harness_id: str, session_id: str) -> Iterator[Json]:
        """A whole session, line by line; the last one's `type` is `end`.

        Raises:
            StreamBroken: it was cut off before.
        """
        from everloop.cli import own_api
        from everloop.cli.errors import StreamBroken

        place = (*_session(harness_id, session_id), "export")
        rest, line = b"", Json()
        with own_api.stream(self.connection, *place) as pieces:
            for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for text in lines:
                    line = json.loads(text)
                    yield line
        if line.get("type") != "end":
            raise StreamBroken("the export was cut off before its end")

    def fork(self, harness_id: str, session_id: str, **wanted: Any) -> Json:
        """Begin a session with the messages of this one, which stays as it is.

        Args:
            harness_id: the harness.
            session_id: the old session.
            wanted: `fromSeq`, `runtimeSessionId`, `harnessId`, `qualifier`, `model` (as
                InvokeHarness takes it), `files` (`none`, `current`, or `{"snapshotId": ...}`) and
                `clientToken`, each optional. A large copy of files is waited for.

        Returns:
            The new session, with `forkedFrom`.
        """
        from everloop.cli.errors import ApiError

        place = (*_session(harness_id, session_id), "fork")
        if wanted.get("files", "none") != "none":
            wanted.setdefault("clientToken", uuid.uuid4().hex)
        deadline = time.monotonic() + COPY_S
        while True:
            try:
                return self._send("POST", *place, body=wanted)
            except ApiError as error:
                copying = error.name == "ThrottlingException" and "being copied" in str(error)
                if not copying or time.monotonic() > deadline:
                    raise

    def delete(self, harness_id: str, session_id: str, *, wait_s: float = 60) -> Json:
        """Delete a session for good.

        Args:
            harness_id: the harness.
            session_id: the session.
            wait_s: how long to wait until everything is gone.

        Returns:
            The receipt; its `status` is `COMPLETE`, or `RUNNING` while something is still to go.
        """
        return self._gone(self._send("DELETE", *_session(harness_id, session_id)), wait_s)

    def delete_actor(self, actor_id: str, *, wait_s: float = 60) -> Json:
        """Delete every session in which an actor had a part; takes and gives as `delete`."""
        return self._gone(self._send("DELETE", "actors", actor_id), wait_s)

    def deletion(self, deletion_id: str) -> Json:
        """A deletion as it stands; the receipt once its `status` is `COMPLETE`."""
        return self._send("GET", "deletions", deletion_id)

    def cancel(self, harness_id: str, session_id: str, invocation_id: str) -> Json:
        """End an invocation now: `state` and `stopReason` tell how it stands afterwards."""
        return self._send(
            "POST", *_session(harness_id, session_id), "invocations", invocation_id, "cancel"
        )

    def events(
        self,
        harness_id: str,
        session_id: str,
        *,
        after: int = 0,
        follow: bool = True,
        invocation_id: str | None = None,
    ) -> "Iterator[SessionEvent]":
        """A session's events from any cursor, as they come; a broken connection is joined again.

        Args:
            harness_id: the harness.
            session_id: the session.
            after: the cursor of the newest event that the caller has; 0 begins.
            follow: whether to wait for what is still to come. Without end then, unless an
                invocation is named or the session is deleted.
            invocation_id: leaves out other invocations, and ends with this one.

        Raises:
            StreamBroken: the connection went and could not be had again.
        """
        from everloop.session_events import read_events

        return read_events(
            self.connection,
            (*_session(harness_id, session_id), "events"),
            after=after,
            follow=follow,
            invocation_id=invocation_id,
        )

    def _gone(self, deletion: Json, wait_s: float) -> Json:
        deadline = time.monotonic() + wait_s
        while deletion["status"] != "COMPLETE" and time.monotonic() < deadline:
            time.sleep(POLL_S)
            deletion = self.deletion(deletion["deletionId"])
        return deletion

    def _pages(
        self, member: str, *segments: str, query: Mapping[str, str | None] | None = None
    ) -> Iterator[Json]:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        while True:
            page = self._send("GET", *segments, query=asked)
            yield from page[member]
            if page["nextToken"] is None:
                return
            asked = {**asked, "nextToken": page["nextToken"]}

    def _send(self, method: str, *segments: str, **options: Any) -> Json:
        from everloop.cli import own_api

        return own_api.send(self.connection, method, *segments, **options)


def _session(harness_id: str, session_id: str) -> tuple[str, ...]:
    return ("harnesses", harness_id, "sessions", session_id)
