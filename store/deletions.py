"""Deletions: what is to go, how far it is gone, and the receipt that stays.

A deletion is open until its receipt is complete, and everything in between may be repeated. Rows go
in bounded batches, each counted in the transaction that deletes it, so that a process that dies
loses no count.
"""

import hashlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.deletion import DeletionKind, DeletionReason, DeletionRecord
from contracts.errors import AwsError, ServiceError
from contracts.records import InvocationState
from store.decision_tables import OPEN, decision
from store.deletion_rows import delete_batch
from store.deletion_tables import deletion
from store.engine import Database
from store.inserts import insert_or_ignore
from store.tables import invocation, session

#: Rows of one batch: some milliseconds under the lock of the session, or of SQLite's one writer.
BATCH_ROWS = 500
#: Deletions that one question gives.
PAGE = 20

_BY_ID = sa.select(deletion).where(deletion.c.id == sa.bindparam("id_"))
_OPEN = sa.select(deletion).where(
    deletion.c.subject == sa.bindparam("subject_"),
    deletion.c.kind == sa.bindparam("kind_"),
    deletion.c.account == sa.bindparam("account_"),
)
_LEFT_OPEN = (
    sa.select(deletion.c.id, deletion.c.kind)
    .where(deletion.c.completed_at.is_(None))
    .order_by(deletion.c.requested_at, deletion.c.id)
    .limit(PAGE)
)
_AGE = sa.tuple_(deletion.c.requested_at, deletion.c.id)
_MARK = sa.update(session).where(session.c.key == sa.bindparam("key_")).values(deleting=True)
_COMPLETE = (
    sa.update(deletion)
    .where(deletion.c.id == sa.bindparam("id_"), deletion.c.completed_at.is_(None))
    .values(
        completed_at=sa.bindparam("at_", type_=deletion.c.completed_at.type),
        subject=None,
        executions=None,
    )
)
_BUSY = (
    sa.select(invocation.c.invocation_id)
    .where(
        invocation.c.session == session.c.key,
        invocation.c.state.in_([InvocationState.NEW.value, InvocationState.OPEN.value]),
    )
    .exists()
)
_HAS_TIME = (
    sa.select(decision.c.id)
    .where(
        decision.c.session == session.c.key,
        OPEN,
        decision.c.due_at > sa.bindparam("now_", type_=decision.c.due_at.type),
    )
    .exists()
)
_IN_USE = sa.or_(
    session.c.active_at >= sa.bindparam("before_", type_=session.c.active_at.type),
    session.c.running.is_not(None),
    _BUSY,
    _HAS_TIME,
)


def _callers_in_use() -> sa.CTE:
    """Sessions that are above an agent's session which is in use."""
    of_agents = session.c.called_from.is_not(None)
    callers = (
        sa.select(session.c.called_from.label("key"))
        .where(of_agents, _IN_USE)
        .cte("callers", recursive=True)
    )
    above = sa.select(session.c.called_from).join(callers, callers.c.key == session.c.key)
    return callers.union(above.where(of_agents))


_EXPIRED = (
    sa.select(session.c.key)
    .where(
        session.c.account == sa.bindparam("account_"),
        ~_IN_USE,
        ~session.c.deleting,
        session.c.key.not_in(sa.select(_callers_in_use().c.key)),
    )
    .order_by(session.c.active_at)
    .limit(PAGE)
)


#: Temporal's workflows that one deletion names: a session of so many runs is deleted without those
#: that came before, which Temporal's own retention deletes.
MAX_EXECUTIONS = 10_000

_AGENTS_OF = (
    sa.select(session.c.key)
    .where(
        session.c.called_from == sa.bindparam("key_"),
        ~sa.exists().where(
            deletion.c.kind == DeletionKind.SESSION.value,
            deletion.c.subject == session.c.key,
            deletion.c.parent.is_not(None),
        ),
    )
    .order_by(session.c.key)
    .limit(PAGE)
)
_ADOPT = (
    sa.update(deletion)
    .where(deletion.c.id == sa.bindparam("id_"), deletion.c.parent.is_(None))
    .values(parent=sa.bindparam("parent_"))
)
_OF_PARENT = deletion.c.parent == sa.bindparam("parent_")
_OPEN_AGENTS = (
    sa.select(deletion.c.id)
    .where(_OF_PARENT, deletion.c.completed_at.is_(None), deletion.c.id > sa.bindparam("after_"))
    .order_by(deletion.c.id)
    .limit(PAGE)
)
_AGENTS = sa.select(deletion.c.id).where(_OF_PARENT).order_by(deletion.c.id)
_REPLIES = (
    sa.select(invocation.c.reply_to)
    .where(invocation.c.session == sa.bindparam("key_"), invocation.c.reply_to.is_not(None))
    .order_by(invocation.c.created_at.desc())
    .limit(MAX_EXECUTIONS)
)
_KEEP = (
    sa.update(deletion)
    .where(deletion.c.id == sa.bindparam("id_"))
    .values(executions=sa.bindparam("executions_", type_=deletion.c.executions.type))
)


class Deletions:
    """Deletions of sessions and actors."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def begin_session(
        self,
        account: str,
        key: str,
        *,
        requested_by: str,
        reason: DeletionReason = DeletionReason.REQUEST,
    ) -> DeletionRecord:
        """Let no more invocations into a session, and open its deletion unless it is open.

        Raises:
            ServiceError: ResourceNotFoundException.
        """

        def work(connection: Connection) -> DeletionRecord:
            if connection.execute(_MARK, {"key_": key}).rowcount == 0:
                # Its rows are gone, but not all of it is.
                found = _find_open(connection, account, DeletionKind.SESSION, key)
                if found is None:
                    raise ServiceError(AwsError.NOT_FOUND, f"Session {key} does not exist.")
                return _record(found)
            return _begin(connection, account, DeletionKind.SESSION, key, requested_by, reason)

        return await self._database.write(work)

    async def begin_actor(
        self, account: str, actor_id: str, *, requested_by: str
    ) -> DeletionRecord:
        """Open the deletion of all sessions in which an actor had a part, unless it is open."""

        def work(connection: Connection) -> DeletionRecord:
            kind, reason = DeletionKind.ACTOR, DeletionReason.REQUEST
            return _begin(connection, account, kind, actor_id, requested_by, reason)

        return await self._database.write(work)

    async def claim_sessions(self, deletion_id: str) -> tuple[str, ...]:
        """Open the deletions of an actor's sessions, and of sessions that were forked from them.

        Returns:
            Ids of deletions to carry out, `PAGE` at most; none when the actor has no session left.
        """

        def work(connection: Connection) -> tuple[str, ...]:
            order = connection.execute(_BY_ID, {"id_": deletion_id}).one()
            if order.subject is None:
                return ()
            found: list[str] = []
            for key in connection.execute(_of_actor(order.account, order.subject)).scalars().all():
                connection.execute(_MARK, {"key_": key})
                made = _begin(
                    connection,
                    order.account,
                    DeletionKind.SESSION,
                    key,
                    order.requested_by,
                    DeletionReason(order.reason),
                )
                found.append(made.id)
            return tuple(found)

        return await self._database.write(work)

    async def claim_agents(self, deletion_id: str, after: str | None = None) -> tuple[str, ...]:
        """Open the deletions of sessions in which agents of a session ran, and count them.

        Whoever went on with such a session, and however it was used since: it goes.

        Args:
            deletion_id: the deletion of the session.
            after: only deletions whose ids come behind this one.

        Returns:
            Ids of deletions to carry out, in their order; none when all are complete.
        """

        def work(connection: Connection) -> tuple[str, ...]:
            order = connection.execute(_BY_ID, {"id_": deletion_id}).one()
            if order.subject is None:
                return ()
            left = connection.execute(_AGENTS_OF, {"key_": order.subject}).scalars().all()
            for key in left:
                connection.execute(_MARK, {"key_": key})
                kind, reason = DeletionKind.SESSION, DeletionReason(order.reason)
                made = _begin(connection, order.account, kind, key, order.requested_by, reason)
                adopted = connection.execute(_ADOPT, {"id_": made.id, "parent_": order.id})
                _count(connection, order.id, {"agent_sessions": adopted.rowcount})
            named = {"parent_": order.id, "after_": after or ""}
            return tuple(connection.execute(_OPEN_AGENTS, named).scalars().all())

        return await self._database.write(work)

    async def keep_executions(self, deletion_id: str) -> tuple[str, ...]:
        """Keep the names of Temporal's workflows that waited for turns of a session.

        Returns:
            They, `MAX_EXECUTIONS` of the newest at most.
        """

        def work(connection: Connection) -> tuple[str, ...]:
            order = connection.execute(_BY_ID, {"id_": deletion_id}).one()
            if order.subject is None:
                return ()
            found = connection.execute(_REPLIES, {"key_": order.subject}).scalars().all()
            kept = tuple(dict.fromkeys((*(order.executions or ()), *found)))
            connection.execute(_KEEP, {"id_": order.id, "executions_": kept})
            return kept

        return await self._database.write(work)

    async def executions(self, deletion_id: str) -> tuple[str, ...]:
        """What `keep_executions` kept."""
        row = await self._database.read(
            lambda connection: connection.execute(_BY_ID, {"id_": deletion_id}).first()
        )
        return () if row is None else row.executions or ()

    async def expire(self, account: str, *, before: datetime) -> None:
        """Open the deletions of the sessions, `PAGE` at most, that were last active before.

        One in which people still have time to decide is kept, and so are those above it.
        """

        def work(connection: Connection) -> None:
            named = {"account_": account, "before_": before, "now_": datetime.now(UTC)}
            expired = connection.execute(_EXPIRED, named)
            for key in expired.scalars().all():
                connection.execute(_MARK, {"key_": key})
                kind, reason = DeletionKind.SESSION, DeletionReason.RETENTION
                _begin(connection, account, kind, key, "everloop", reason)

        await self._database.write(work)

    async def forget_receipts(self, *, before: datetime) -> None:
        """Delete receipts that were complete before."""
        old = sa.delete(deletion).where(deletion.c.completed_at < before)
        await self._database.write(lambda connection: connection.execute(old))

    async def left_open(self, after: str | None = None) -> tuple[tuple[str, DeletionKind], ...]:
        """Deletions that are not complete, the oldest first, `PAGE` at most.

        Args:
            after: only those that were asked for after this one.
        """
        statement = _LEFT_OPEN
        if after is not None:
            place = sa.select(deletion.c.requested_at, deletion.c.id).where(deletion.c.id == after)
            statement = statement.where(_AGE > place.scalar_subquery())
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return tuple((row.id, DeletionKind(row.kind)) for row in rows)

    async def subject(self, deletion_id: str) -> str | None:
        """The session's key or the actor's id; None once it is complete."""
        row = await self._database.read(
            lambda connection: connection.execute(_BY_ID, {"id_": deletion_id}).first()
        )
        return None if row is None else row.subject

    async def get(self, account: str, deletion_id: str) -> DeletionRecord:
        """A deletion as it stands.

        Raises:
            ServiceError: ResourceNotFoundException.
        """

        def work(connection: Connection) -> DeletionRecord:
            row = connection.execute(_BY_ID, {"id_": deletion_id}).first()
            if row is None or row.account != account:
                raise ServiceError(AwsError.NOT_FOUND, f"There is no deletion {deletion_id}.")
            agents = connection.execute(_AGENTS, {"parent_": deletion_id}).scalars().all()
            return replace(_record(row), agents=tuple(agents))

        return await self._database.read(work)

    async def delete_rows(self, deletion_id: str, *, limit: int = BATCH_ROWS) -> int:
        """Delete a batch of rows of a session, and count them in its receipt.

        Returns:
            How many they were; 0 when nothing is left.
        """

        def work(connection: Connection) -> int:
            order = connection.execute(_BY_ID, {"id_": deletion_id}).one()
            if order.subject is None:
                return 0
            deleted = delete_batch(connection, order.subject, limit)
            _count(connection, order.id, deleted)
            return sum(deleted.values())

        return await self._database.write(work)

    async def count(self, deletion_id: str, what: str, number: int) -> None:
        """Count what was deleted elsewhere."""

        def work(connection: Connection) -> None:
            _count(connection, deletion_id, {what: number})

        await self._database.write(work)

    async def overwrite(self) -> bool:
        """Have the embedded database forget deleted bytes that its write-ahead log still holds.

        Returns:
            Whether it did; a reader in that moment keeps it from doing so.
        """

        def work(connection: Connection) -> bool:
            if connection.dialect.name != "sqlite":
                return True
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            return not busy

        return await self._database.update(work)

    async def complete(self, deletion_id: str) -> None:
        """Make the receipt complete; from now on it does not name what was deleted."""
        parameters = {"id_": deletion_id, "at_": datetime.now(UTC)}
        await self._database.write(lambda connection: connection.execute(_COMPLETE, parameters))


def subject_digest(subject: str) -> str:
    """What a receipt names the session's key or the actor's id by."""
    return hashlib.sha256(subject.encode()).hexdigest()


def _of_actor(account: str, actor_id: str) -> sa.Select[Any]:
    """Sessions in which the actor had a part, and all that was forked from them."""
    had_a_part = (
        sa.select(session.c.key)
        .join(invocation, invocation.c.session == session.c.key)
        .where(session.c.account == account, invocation.c.actor_id == actor_id)
        .union(
            sa.select(session.c.key).where(
                session.c.account == account, session.c.actor_id == actor_id
            )
        )
        .cte("had_a_part")
    )
    theirs = sa.select(had_a_part.c.key).cte("theirs", recursive=True)
    forked = sa.select(session.c.key).join(theirs, session.c.forked_from == theirs.c.key)
    # Forks first: once a session is gone, its forks cannot be told to be of it.
    all_of_them = theirs.union(forked)
    left = sa.select(session.c.key).join(all_of_them, all_of_them.c.key == session.c.key)
    parent = session.alias()
    has_forks = sa.select(parent.c.key).where(parent.c.forked_from == session.c.key).exists()
    return left.where(~has_forks).order_by(session.c.key).limit(PAGE)


def _find_open(
    connection: Connection, account: str, kind: DeletionKind, subject: str
) -> Row[Any] | None:
    parameters = {"subject_": subject, "kind_": kind.value, "account_": account}
    return connection.execute(_OPEN, parameters).first()


def _begin(
    connection: Connection,
    account: str,
    kind: DeletionKind,
    subject: str,
    requested_by: str,
    reason: DeletionReason,
) -> DeletionRecord:
    row: dict[str, Any] = {
        "id": f"deletion-{uuid.uuid4()}",
        "account": account,
        "kind": kind.value,
        "subject": subject,
        "digest": subject_digest(subject),
        "reason": reason.value,
        "requested_by": requested_by,
        "requested_at": datetime.now(UTC),
        "counts": {},
    }
    insert_or_ignore(connection, deletion, row)
    found = _find_open(connection, account, kind, subject)
    assert found is not None
    return _record(found)


def _count(connection: Connection, deletion_id: str, more: dict[str, int]) -> None:
    counts = dict(connection.execute(_BY_ID, {"id_": deletion_id}).one().counts)
    for name, number in more.items():
        if number:
            counts[name] = counts.get(name, 0) + number
    connection.execute(
        sa.update(deletion).where(deletion.c.id == deletion_id).values(counts=counts)
    )


def _record(row: Row[Any]) -> DeletionRecord:
    return DeletionRecord(
        id=row.id,
        account=row.account,
        kind=DeletionKind(row.kind),
        digest=row.digest,
        reason=DeletionReason(row.reason),
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        completed_at=row.completed_at,
        counts=row.counts,
    )
