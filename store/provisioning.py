"""Moving harnesses and endpoints out of their statuses in transition, each step once.

A resource is moved by whoever names the operation that its row names: a step that comes again, or
after the next change has begun, finds another operation, or none, and does nothing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.harness import HarnessConfig
from contracts.messages import StopReason
from contracts.provisioning import Operation, ResourceStatus
from contracts.records import InvocationState
from contracts.tools import CallState
from store import closing
from store.decision_tables import OPEN, decision
from store.engine import Database
from store.harness_rows import fetch
from store.session import LockedSession
from store.settling import cut_short, settle
from store.tables import call, environment, harness, harness_endpoint, invocation, session
from store.tag_rows import drop_tags, resource_name, tagged
from store.withdrawing import withdraw

_UNDER_WAY = (
    sa.select(harness.c.account, harness.c.harness_id, harness.c.operation_id, sa.null())
    .where(harness.c.operation_id.is_not(None))
    .union_all(
        sa.select(
            harness_endpoint.c.account,
            harness_endpoint.c.harness_id,
            harness_endpoint.c.operation_id,
            harness_endpoint.c.name,
        ).where(harness_endpoint.c.operation_id.is_not(None))
    )
)
_UNENDED = sa.exists().where(
    invocation.c.session == session.c.key,
    invocation.c.state.in_([InvocationState.NEW.value, InvocationState.OPEN.value]),
)
_WAITING = sa.exists().where(
    call.c.session == session.c.key,
    call.c.seq == session.c.calls_seq,
    call.c.state == CallState.WAITING.value,
)
_ASKS = sa.exists().where(decision.c.session == session.c.key, OPEN)
_LEFT = (
    sa.select(
        session.c.key,
        sa.or_(_UNENDED, _WAITING, _ASKS).label("busy"),
        sa.func.coalesce(environment.c.host, session.c.host).label("host"),
    )
    .join_from(session, environment, environment.c.session == session.c.key, isouter=True)
    .where(
        session.c.account == sa.bindparam("account"),
        session.c.harness_id == sa.bindparam("harness_id"),
        session.c.key > sa.bindparam("after"),
        sa.or_(
            session.c.host.is_not(None),
            environment.c.session.is_not(None),
            _UNENDED,
            _WAITING,
            _ASKS,
        ),
    )
    .order_by(session.c.key)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_UNENDED_OF = sa.select(invocation.c.invocation_id).where(
    invocation.c.session == sa.bindparam("key_"),
    invocation.c.state.in_([InvocationState.NEW.value, InvocationState.OPEN.value]),
)
_LAST_OF = (
    sa.select(invocation.c.invocation_id)
    .where(invocation.c.session == sa.bindparam("key_"))
    .order_by(invocation.c.created_at.desc(), invocation.c.first_cursor.desc())
    .limit(1)
)


class Provisioning:
    """What the provisioning workflow works on."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def under_way(self) -> Sequence[Operation]:
        """Every operation that has not come to its end."""
        return await self._database.read(
            lambda connection: [Operation(*row) for row in connection.execute(_UNDER_WAY)]
        )

    async def look(self, operation: Operation) -> tuple[ResourceStatus, HarnessConfig] | None:
        """What a change is, and the configuration of the version that it is about.

        Returns:
            None when it is not under way any more.
        """

        def work(connection: Connection) -> tuple[ResourceStatus, HarnessConfig] | None:
            row = connection.execute(_changing(operation)).first()
            if row is None:
                return None
            version = fetch(connection, operation.account, operation.harness_id, row.version)
            return ResourceStatus(row.status), version.config

        return await self._database.read(work)

    async def settle(self, operation: Operation, failure: str | None) -> None:
        """Bring a change to its end, once: the version it is about is served, or the endpoint goes.

        Args:
            operation: the change; the deletion of a harness ends by `finish_delete` or, with a
                failure, here.
            failure: why it failed; then what was served before is served on.
        """

        def work(connection: Connection) -> None:
            row = connection.execute(_changing(operation).with_for_update()).first()
            if row is None:
                return
            status = ResourceStatus(row.status)
            if status is ResourceStatus.DELETING and failure is None:
                assert operation.endpoint is not None
                _forget_endpoint(connection, operation, operation.endpoint)
                return
            changes: dict[str, Any] = {"operation_id": None, "failure_reason": failure}
            if failure is None:
                changes |= {"status": ResourceStatus.READY, "live_version": row.version}
            else:
                changes |= {"status": status.failed}
            connection.execute(_this(operation).values(changes))

        await self._database.write(work)

    async def sessions_left(
        self, operation: Operation, *, after: str, limit: int
    ) -> Sequence[tuple[str, bool, str | None]]:
        """Sessions of a harness of which more is left than their transcripts.

        Args:
            operation: names the harness.
            after: only sessions whose key follows this one.
            limit: at most so many, in order of their keys.

        Returns:
            Of each its key, whether invocations run or calls wait in it, and the sandbox host that
            has its environment or files.
        """
        wanted = {
            "account": operation.account,
            "harness_id": operation.harness_id,
            "after": after,
            "limit": limit,
        }

        def work(connection: Connection) -> list[tuple[str, bool, str | None]]:
            rows = connection.execute(_LEFT, wanted)
            return [(row.key, bool(row.busy), row.host) for row in rows]

        return await self._database.read(work)

    async def end_session(self, key: str) -> None:
        """End what runs and what waits in a session; its transcript stays, and stays valid.

        Whoever writes for it is refused from now on. Idempotent.
        """

        def work(connection: Connection) -> None:
            for (invocation_id,) in connection.execute(_UNENDED_OF, {"key_": key}).all():
                closing.close(connection, key, invocation_id, StopReason.INTERRUPTED, None)
            _end_waiting(LockedSession.lock(connection, key))

        await self._database.write(work)

    async def finish_delete(self, operation: Operation) -> None:
        """A harness whose sessions have ended is gone; the name is free, transcripts stay."""

        def work(connection: Connection) -> None:
            if connection.execute(_changing(operation).with_for_update()).first() is None:
                return
            drop_tags(connection, operation.account, tagged(operation.harness_id))
            gone = {"alive": False, "operation_id": None, "updated_at": datetime.now(UTC)}
            connection.execute(_this(operation).values(gone))

        await self._database.write(work)


def _changing(operation: Operation) -> sa.Select[Any, Any]:
    """The row of what an operation changes, while it does."""
    table = harness if operation.endpoint is None else harness_endpoint
    return sa.select(table.c.status, table.c.version).where(*_key(operation))


def _this(operation: Operation) -> sa.Update:
    table = harness if operation.endpoint is None else harness_endpoint
    return sa.update(table).where(*_key(operation))


def _key(operation: Operation) -> tuple[sa.ColumnElement[bool], ...]:
    table = harness if operation.endpoint is None else harness_endpoint
    key = (
        table.c.account == operation.account,
        table.c.harness_id == operation.harness_id,
        table.c.operation_id == operation.operation_id,
    )
    return key if operation.endpoint is None else (*key, table.c.name == operation.endpoint)


def _forget_endpoint(connection: Connection, operation: Operation, name: str) -> None:
    connection.execute(sa.delete(harness_endpoint).where(*_key(operation)))
    drop_tags(connection, operation.account, [resource_name(operation.harness_id, name)])


def _end_waiting(locked: LockedSession) -> None:
    """Calls that wait for the caller get an outcome: nobody can answer them any more."""
    last: Row[Any] | None = locked.connection.execute(_LAST_OF, {"key_": locked.key}).first()
    withdraw(locked)
    if locked.calls_seq == 0 or last is None:
        return
    cut_short(locked, closing.WITHOUT_OUTCOME, StopReason.INTERRUPTED, None)
    settle(locked, last.invocation_id)
    locked.save()
