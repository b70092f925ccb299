"""The inbox over HTTP: tool calls that wait for people, and votes about them.

Needs the extra `everloop[cli]`, whose boto3 finds the credentials to sign with. Answers are the
API's JSON as dictionaries; docs/approvals.md describes them.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everloop.cli.connection import Connection

Json = dict[str, Any]

#: Sends of one vote. Its id makes them one, so a send whose answer was lost is repeated.
VOTE_SENDS = 3


@dataclass(frozen=True)
class Inbox:
    """The decisions of an Everloop's account.

    Every method raises `everloop.cli.errors.ApiError` when the API refuses, with AWS's name of the
    error as `name`, and `everloop.cli.errors.CommandError` when it cannot be reached.

    Attributes:
        connection: where the API is.
        user: whom to decide as, on a loopback API without verified signatures.
        roles: that user's roles there.
    """

    connection: "Connection"
    user: str | None = None
    roles: tuple[str, ...] = ()

    @classmethod
    def at(
        cls,
        endpoint_url: str,
        *,
        region: str = "us-east-1",
        user: str | None = None,
        roles: tuple[str, ...] = (),
    ) -> "Inbox":
        """The inbox behind an API's address, as `http://127.0.0.1:8080`."""
        from everloop.cli.connection import Connection

        return cls(Connection(endpoint_url, endpoint_url, region), user, roles)

    def list(
        self,
        *,
        status: str = "open",
        mine: bool = False,
        user: str | None = None,
        role: str | None = None,
        root_session: str | None = None,
        harness_id: str | None = None,
        older_than_s: int | None = None,
    ) -> Iterator[Json]:
        """Decisions, page by page as they are taken: open ones oldest first, others newest first.

        Args:
            status: `open`, `approved`, `rejected`, `answered`, `expired` or `withdrawn`.
            mine: only those that this user may take.
            user: only those that name this user.
            role: only those that name this role.
            root_session: only those of this session and of agents below it, as
                `HARNESS_ID/SESSION`.
            harness_id: only those of this harness.
            older_than_s: only those asked for longer ago than so many seconds.
        """
        filters = {
            "status": status,
            "mine": "true" if mine else None,
            "user": user,
            "role": role,
            "rootSession": root_session,
            "harnessId": harness_id,
            "olderThanSeconds": None if older_than_s is None else str(older_than_s),
        }
        given = {name: value for name, value in filters.items() if value is not None}
        token: str | None = None
        while True:
            page = self.page(given, next_token=token)
            yield from page["decisions"]
            token = page.get("nextToken")
            if token is None:
                return

    def page(
        self,
        filters: Mapping[str, str] | None = None,
        *,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        """One page of decisions: `decisions`, and `nextToken` unless it is the last.

        Args:
            filters: by their names over HTTP, as `{"harnessId": "helper-abcdefghij"}`.
            max_results: how many at most, from 1 to 100; 50 when left out.
            next_token: of the page before.
        """
        asked = {
            **(filters or {}),
            "maxResults": None if max_results is None else str(max_results),
            "nextToken": next_token,
        }
        query = {name: value for name, value in asked.items() if value is not None}
        return self._send("GET", "decisions", query=query)

    def get(self, decision_id: str) -> Json:
        """One decision with its votes."""
        return self._send("GET", "decisions", decision_id)["decision"]

    def approve(
        self, decision: Json, *, reason: str | None = None, arguments: Json | None = None
    ) -> Json:
        """Agree to a decision as it was seen.

        Args:
            decision: as `get` or `list` gave it; its digest is what is agreed to.
            reason: why; the model reads it, too.
            arguments: what should run instead of what was asked for.

        Returns:
            The decision afterwards.
        """
        return self.vote(decision, "approve", reason=reason, arguments=arguments)

    def reject(self, decision: Json, *, reason: str | None = None) -> Json:
        """Reject a decision as it was seen; see `approve`."""
        return self.vote(decision, "reject", reason=reason)

    def answer(self, decision: Json, text: str, *, reason: str | None = None) -> Json:
        """Give the result of an inline function; see `approve`."""
        return self.vote(decision, "answer", reason=reason, answer=text)

    def vote(self, decision: Json, verdict: str, **members: Any) -> Json:
        """Vote once, however often it has to be sent; see `approve`."""
        from everloop.cli.errors import ApiError, CommandError

        given = {name: value for name, value in members.items() if value is not None}
        body = {
            "voteId": str(uuid.uuid4()),
            "decision": verdict,
            "digest": decision["digest"],
            **given,
        }
        path = ("decisions", decision["decisionId"], "votes")
        for _ in range(VOTE_SENDS - 1):
            try:
                return self._send("POST", *path, body=body)["decision"]
            except ApiError as error:
                if error.name != "InternalServerException":
                    raise
            except CommandError:
                continue
        return self._send("POST", *path, body=body)["decision"]

    def _send(
        self,
        method: str,
        *segments: str,
        query: dict[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        from everloop.cli import own_api

        headers: dict[str, str] = {}
        if self.user is not None:
            headers["x-everloop-user"] = self.user
        if self.roles:
            headers["x-everloop-roles"] = ",".join(self.roles)
        return own_api.send(
            self.connection, method, *segments, query=query, body=body, headers=headers
        )
