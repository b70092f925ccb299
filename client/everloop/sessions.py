"""Sessions from outside of a turn, over HTTP: cancel what runs in them, and watch.

Needs the extra `everloop[cli]`, whose boto3 finds the credentials to sign with. Answers are the
API's JSON as dictionaries; docs/sessions.md describes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everloop.cli.connection import Connection
    from everloop.session_events import SessionEvent

Json = dict[str, Any]


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

    def _send(self, method: str, *segments: str, **options: Any) -> Json:
        from everloop.cli import own_api

        return own_api.send(self.connection, method, *segments, **options)


def _session(harness_id: str, session_id: str) -> tuple[str, ...]:
    return ("harnesses", harness_id, "sessions", session_id)
