"""Decisions: what waits for people, what they say, and what is owed to a session because of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.decisions import (
    MAX_ANSWER,
    MAX_EDIT,
    MAX_REASON,
    RESUME_PREFIX,
    DecisionRecord,
    DecisionStatus,
    NewVote,
    Principal,
    Standing,
    VoteRecord,
    VoteState,
    WaitsFor,
)
from contracts.errors import Reason, invalid
from contracts.records import InvocationState
from contracts.turn import TurnRequest
from store import deciding, decision_rows
from store.decision_tables import decision, vote
from store.engine import Database
from store.inbox import InboxFilter, read_inbox
from store.inserts import insert_or_ignore
from store.invocations import UNTOUCHED
from store.session import LockedSession
from store.tables import invocation
from store.vote_rules import check_vote, gate_of_edit, is_edit

#: Sessions that one look for what is owed returns.
MAX_OWED = 100

_OWES_RESUME = (
    sa.select(invocation.c.session, invocation.c.invocation_id)
    .where(
        invocation.c.state == sa.literal_column(f"'{InvocationState.NEW.value}'"),
        # True of every row, and tells SQLite that the index of new invocations is to be searched.
        invocation.c.session > "",
        invocation.c.invocation_id.like(f"{RESUME_PREFIX}%"),
        invocation.c.created_at < sa.bindparam("before", type_=invocation.c.created_at.type),
    )
    .limit(MAX_OWED)
)
#: Their workflows may know of them; of those that do not, the newest are worth the next look.
_MAY_BE_LOST = (
    sa.select(invocation.c.session, invocation.c.invocation_id)
    .where(
        invocation.c.state == sa.literal_column(f"'{InvocationState.OPEN.value}'"),
        invocation.c.session > "",
        invocation.c.invocation_id.like(f"{RESUME_PREFIX}%"),
        invocation.c.created_at < sa.bindparam("before", type_=invocation.c.created_at.type),
        UNTOUCHED,
    )
    .order_by(invocation.c.created_at.desc())
    .limit(MAX_OWED)
)
_OVERDUE = (
    sa.select(decision.c.session, decision.c.id)
    .where(
        decision.c.status == sa.literal_column(f"'{DecisionStatus.OPEN.value}'"),
        decision.c.due_at < sa.bindparam("before", type_=decision.c.due_at.type),
    )
    .limit(MAX_OWED)
)


@dataclass(frozen=True)
class Owed:
    """A session whose workflow has to act on a decision, and has not for a while.

    Attributes:
        session: the session's key.
        decision_id: the decision.
        opened: whether the turn that it resumes is open, so that the workflow acts if it knows.
    """

    session: str
    decision_id: str
    opened: bool = False


class Decisions:
    """The decisions of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def get(self, account: str, decision_id: str) -> DecisionRecord:
        """A decision with its votes.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        return await self._database.read(
            lambda connection: decision_rows.fetch(connection, account, decision_id)
        )

    async def list(
        self, account: str, wanted: InboxFilter, *, limit: int, after: str | None
    ) -> tuple[tuple[DecisionRecord, ...], str | None]:
        """Decisions of an account: open ones from the oldest on, others from the newest on.

        Args:
            account: the twelve-digit account.
            wanted: which.
            limit: how many at most, from 1 to 100.
            after: the token that the page before returned.

        Returns:
            The decisions without their votes, and the token of the next page; None at the end.

        Raises:
            ServiceError: ValidationException.
        """
        return await self._database.read(
            partial(read_inbox, account=account, wanted=wanted, limit=limit, after=after)
        )

    async def cast(
        self, account: str, decision_id: str, new: NewVote, who: Principal
    ) -> VoteRecord:
        """Write a vote down, for the session's workflow to count.

        A vote that cannot count is refused here already, and not kept.

        Args:
            account: the twelve-digit account.
            decision_id: what it is about.
            new: what is said.
            who: says it.

        Returns:
            The vote; when it was cast before, as it stands now.

        Raises:
            ServiceError: ResourceNotFoundException; ValidationException with reason
                IdempotentParameterMismatchException when the vote id was used for another vote; and
                as `store.vote_rules.check_vote`.
        """
        _check_size("reason", new.reason, MAX_REASON)
        _check_size("answer", new.answer, MAX_ANSWER)
        _check_size("arguments", json.dumps(new.arguments), MAX_EDIT)

        def work(connection: Connection) -> VoteRecord:
            found = decision_rows.fetch(connection, account, decision_id)
            LockedSession.lock(connection, found.session)
            found = decision_rows.fetch(connection, account, decision_id)
            before = _vote(found, new.vote_id)
            if before is not None:
                if before.vote != new or before.decider != who.user:
                    raise invalid(
                        "voteId",
                        f"{new.vote_id} was used before for another vote; use a new id",
                        reason=Reason.IDEMPOTENT_PARAMETER_MISMATCH,
                    )
                return before
            check_vote(found, new, who)
            if new.arguments is not None and is_edit(found, new):
                config = deciding.config_of(connection, found)
                gate_of_edit(found, config.extensions.approvals, new.arguments, who)
            now = datetime.now(UTC)
            insert_or_ignore(
                connection,
                vote,
                {
                    "decision": decision_id,
                    "vote_id": new.vote_id,
                    "number": len(found.votes) + 1,
                    "decider": who.user,
                    "roles": who.roles,
                    "at": now,
                    "state": VoteState.CAST.value,
                    "revision": 0,
                    "kind": new.kind.value,
                    "digest": new.digest,
                    "reason": new.reason,
                    "arguments": new.arguments,
                    "answer": new.answer,
                },
            )
            return VoteRecord(new, who.user, now, VoteState.CAST)

        return await self._database.write(work)

    async def count(self, session: str, decision_id: str, vote_id: str) -> None:
        """Count a vote that was cast, once; deadlines that have passed come first.

        What the vote says is done in the same transaction, or it is refused for good. Unknown votes
        and those of other sessions change nothing.

        Raises:
            ServiceError: ResourceNotFoundException when there is no such session.
        """
        await self._database.write(
            partial(
                deciding.count_vote, session_key=session, decision_id=decision_id, vote_id=vote_id
            )
        )

    async def expire(self, session: str) -> None:
        """Do what the deadlines that have passed in a session say.

        Raises:
            ServiceError: ResourceNotFoundException when there is no such session.
        """
        await self._database.write(partial(deciding.expire, session_key=session))

    async def standing(self, session: str) -> Standing:
        """How the decisions of a session stand; `waiting` is about open decisions only."""

        def work(connection: Connection) -> Standing:
            opened = decision_rows.open_of(connection, session)
            resume = decision_rows.resume_due(connection, session)
            dues = [each.due_at.timestamp() for each in opened if each.due_at]
            who = (name for each in opened for name in decision_rows.names(each.gate))
            return Standing(
                waiting=bool(opened),
                due_s=min(dues, default=None),
                resume=TurnRequest(resume, enqueue=True) if resume else None,
                shown=WaitsFor(
                    tuple(dict.fromkeys(who)), tuple(dict.fromkeys(each.tool for each in opened))
                ),
            )

        return await self._database.read(work)

    async def told(self, session: str, tool_use_ids: Sequence[str]) -> dict[str, str]:
        """For those of a session's calls whose decision is closed: how, in words."""
        return await self._database.read(
            lambda connection: decision_rows.how_decided(connection, session, tool_use_ids)
        )

    async def owed(self, *, late_s: float) -> tuple[Owed, ...]:
        """Sessions whose workflow is late by so many seconds: a turn to resume, a deadline."""
        before = datetime.now(UTC) - timedelta(seconds=late_s)

        def work(connection: Connection) -> tuple[Owed, ...]:
            resumes = connection.execute(_OWES_RESUME, {"before": before}).all()
            opened = connection.execute(_MAY_BE_LOST, {"before": before}).all()
            overdue = connection.execute(_OVERDUE, {"before": before}).all()
            return (
                *(Owed(each[0], each[1].removeprefix(RESUME_PREFIX)) for each in resumes),
                *(Owed(each[0], each[1].removeprefix(RESUME_PREFIX), True) for each in opened),
                *(Owed(each[0], each[1]) for each in overdue),
            )

        return await self._database.read(work)


def _check_size(name: str, text: str | None, limit: int) -> None:
    if text is not None and len(text) > limit:
        raise invalid(name, f"must have at most {limit} characters, not {len(text)}")


def _vote(found: DecisionRecord, vote_id: str) -> VoteRecord | None:
    return next((each for each in found.votes if each.vote.vote_id == vote_id), None)
