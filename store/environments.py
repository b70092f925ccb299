"""Records of local environments, the hosts that own them, and which host a session's belongs to."""

import uuid
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.environment import EnvironmentRecord, EnvironmentState, HostVolumes
from contracts.errors import AwsError, EnvironmentUnavailable, ServiceError, StaleAttempt
from store.clock import EpochMillis
from store.engine import Database
from store.harness_rows import may_have_environment
from store.inserts import insert_or_ignore
from store.tables import environment, sandbox_host, session
from store.take_over import forget_left, left_volumes, take_over

_ALIVE = sandbox_host.c.lease_until_ms > EpochMillis()
_GET = sa.select(environment).where(environment.c.session == sa.bindparam("session_"))
_ON_HOST = (
    sa.select(environment)
    .where(environment.c.host == sa.bindparam("host_"))
    .order_by(environment.c.session)
)
_BEAT = (
    sa.update(sandbox_host)
    .where(sandbox_host.c.host == sa.bindparam("host_"))
    .values(lease_until_ms=EpochMillis() + sa.bindparam("lease_ms", type_=sa.BigInteger))
)
_HOSTS = sa.select(sandbox_host.c.host).where(_ALIVE).order_by(sandbox_host.c.host)
_HOST_OF_SESSION = (
    sa.select(
        session.c.host,
        sa.exists().where(sandbox_host.c.host == session.c.host, _ALIVE).label("alive"),
    )
    .where(session.c.key == sa.bindparam("key_"))
    .with_for_update()
)
_LIVING_HOST = (
    sa.select(session.c.host)
    .join(sandbox_host, sandbox_host.c.host == session.c.host)
    .where(session.c.key == sa.bindparam("key_"), _ALIVE)
)
_BEAT_AT = _BEAT.where(sandbox_host.c.place == sa.bindparam("place_"))
_CLAIM = (
    sa.update(sandbox_host)
    .where(
        sandbox_host.c.host == sa.bindparam("host_"),
        sandbox_host.c.place.is_(None) | (sandbox_host.c.place == sa.bindparam("place_")) | ~_ALIVE,
    )
    .values(
        place=sa.bindparam("place_"),
        volumes=sa.bindparam("id_"),
        may_lose_files=sa.bindparam("may_"),
    )
)
_LEAVE = (
    sa.update(sandbox_host)
    .where(
        sandbox_host.c.host == sa.bindparam("host_"), sandbox_host.c.place == sa.bindparam("place_")
    )
    .values(place=None)
)
_OWNER = sa.select(sandbox_host.c.owner).where(sandbox_host.c.host == sa.bindparam("host_"))
_NAME_OWNER = (
    sa.update(sandbox_host)
    .where(sandbox_host.c.host == sa.bindparam("host_"), sandbox_host.c.owner.is_(None))
    .values(owner=sa.bindparam("owner_"))
)
_LEAST_USED = (
    sa.select(sandbox_host.c.host)
    .where(_ALIVE)
    .order_by(
        sandbox_host.c.host != sa.bindparam("preferred", type_=sa.String),
        sa.select(sa.func.count())
        .where(environment.c.host == sandbox_host.c.host)
        .scalar_subquery(),
        sandbox_host.c.host,
    )
    .limit(1)
)
_ASSIGN = (
    sa.update(session)
    .where(session.c.key == sa.bindparam("key_"))
    .values(host=sa.bindparam("host_"))
)


class Environments:
    """What is known of local environments and sandbox hosts."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def get(self, session: str) -> EnvironmentRecord | None:
        """The record of a session's environment, if it has one."""

        def work(connection: Connection) -> EnvironmentRecord | None:
            row = connection.execute(_GET, {"session_": session}).first()
            return None if row is None else _record(row)

        return await self._database.read(work)

    async def host_of(self, session: str) -> str | None:
        """The host that has a session's environment or files; None when there never was one.

        A dead host is named unless another has the same files.
        """

        def work(connection: Connection) -> str | None:
            found = connection.execute(_HOST_OF_SESSION, {"key_": session}).first()
            if found is not None and found.host is not None:
                if found.alive:
                    return found.host
                return take_over(connection, session, found.host, keep_files=True)
            row = connection.execute(_GET, {"session_": session}).first()
            return None if row is None else row.host

        return await self._database.write(work)

    async def put(self, record: EnvironmentRecord, *, expected_generation: int | None) -> None:
        """Replace a session's record, if it is still the one that the writer knows.

        Args:
            record: the new record.
            expected_generation: the generation of the record to replace; None when there must be
                none.

        Raises:
            StaleAttempt: another record is there, or none.
        """
        row = {
            "session": record.session,
            "provider": record.provider,
            "host": record.host,
            "generation": record.generation,
            "boot_id": record.boot_id,
            "state": record.state.value,
            "reference": record.reference,
        }
        used_now = sa.update(environment).values(used_at_ms=EpochMillis())

        def work(connection: Connection) -> bool:
            if expected_generation is None:
                inserted = insert_or_ignore(connection, environment, row)
                if inserted:
                    connection.execute(used_now.where(environment.c.session == record.session))
                return inserted
            replaced = connection.execute(
                sa.update(environment)
                .where(
                    environment.c.session == record.session,
                    environment.c.generation == expected_generation,
                )
                .values(row | {"used_at_ms": EpochMillis()})
            )
            return replaced.rowcount > 0

        if not await self._database.update(work):
            raise StaleAttempt(
                f"the environment of {record.session} is not of generation {expected_generation}"
            )

    async def on_host(self, host: str) -> tuple[EnvironmentRecord, ...]:
        """The records of a host's environments."""

        def work(connection: Connection) -> tuple[EnvironmentRecord, ...]:
            return tuple(_record(row) for row in connection.execute(_ON_HOST, {"host_": host}))

        return await self._database.read(work)

    async def unused(self, host: str, *, for_s: int, session: str | None = None) -> tuple[str, ...]:
        """The sessions of a host whose environments were stopped long ago.

        Args:
            host: whose.
            for_s: seconds since the stop.
            session: only this one, when given.
        """
        statement = sa.select(environment.c.session).where(
            environment.c.host == host,
            environment.c.state.in_(
                [
                    EnvironmentState.STOPPED.value,
                    EnvironmentState.RESTORED.value,
                    EnvironmentState.FORKED.value,
                ]
            ),
            environment.c.used_at_ms < EpochMillis() - for_s * 1000,
        )
        if session is not None:
            statement = statement.where(environment.c.session == session)
        return await self._database.read(
            lambda connection: tuple(connection.execute(statement).scalars())
        )

    async def left_volumes(self, host: str) -> tuple[str, ...]:
        """The volumes on a host's disk that sessions went on elsewhere without, by name."""
        return await self._database.read(lambda connection: left_volumes(connection, host))

    async def forget_left(self, host: str, volume: str) -> None:
        """A host has removed a volume that was left there."""
        await self._database.update(lambda connection: forget_left(connection, host, volume))

    async def mark_restored(self, session: str, host: str, provider: str) -> None:
        """The files of a session, whose environment is stopped, are being put back to a snapshot.

        Raises:
            StaleAttempt: another host has the session, or its environment runs.
        """
        record = await self.get(session)
        if record is None:
            first = EnvironmentRecord(session, provider, host, 1, "", EnvironmentState.RESTORED, {})
            await self.put(first, expected_generation=None)
        elif record.host != host or record.state is EnvironmentState.RUNNING:
            raise StaleAttempt(f"the environment of {session} is not stopped on {host}")
        else:
            restored = replace(record, state=EnvironmentState.RESTORED, reference={})
            await self.put(restored, expected_generation=record.generation)

    async def delete(self, key: str) -> None:
        """Forget a session's environment and which host had it; it need not have one."""

        def work(connection: Connection) -> None:
            connection.execute(_ASSIGN, {"key_": key, "host_": None})
            connection.execute(sa.delete(environment).where(environment.c.session == key))

        await self._database.write(work)

    async def check_wanted(self, session: str) -> None:
        """See that a session may have an environment.

        Raises:
            EnvironmentUnavailable: its harness is being deleted, or is gone.
        """
        if not await self._database.read(
            lambda connection: may_have_environment(connection, session)
        ):
            raise EnvironmentUnavailable("the session's harness is deleted")

    async def beat(self, host: str, *, lease_s: float, place: str | None = None) -> None:
        """A host lives: its lease runs `lease_s` seconds from now, on the database's clock.

        Args:
            host: its name.
            lease_s: seconds.
            place: the data directory that claimed the name; no matter when None.

        Raises:
            StaleAttempt: the process of another data directory has the name.
        """
        lease = {"host_": host, "lease_ms": round(lease_s * 1000)}

        def work(connection: Connection) -> bool:
            if place is not None:
                return connection.execute(_BEAT_AT, {**lease, "place_": place}).rowcount > 0
            insert_or_ignore(connection, sandbox_host, {"host": host, "lease_until_ms": 0})
            connection.execute(_BEAT, lease)
            return True

        if not await self._database.write(work):
            raise StaleAttempt(f"another sandbox host has the name {host!r}")

    async def claim(self, host: str, place: str, volumes: HostVolumes) -> bool:
        """Take a host's name for one process, before it lives, and say what it shares with others.

        Args:
            host: the name.
            place: names the data directory of the process.
            volumes: what it shares.

        Returns:
            Whether it has the name; not while the process of another data directory has it and
            lives.
        """
        claim = {
            "host_": host,
            "place_": place,
            "id_": volumes.id,
            "may_": volumes.may_lose_files,
        }

        def work(connection: Connection) -> bool:
            insert_or_ignore(connection, sandbox_host, {"host": host, "lease_until_ms": 0})
            return connection.execute(_CLAIM, claim).rowcount > 0

        return await self._database.write(work)

    async def leave(self, host: str, place: str) -> None:
        """Give a host's name back; its lease runs on, for whoever takes it next. Idempotent."""
        await self._database.write(
            lambda connection: connection.execute(_LEAVE, {"host_": host, "place_": place})
        )

    async def owner(self, host: str) -> str:
        """What names a host beyond this database, where other databases' hosts have things too.

        Args:
            host: its name here.

        Returns:
            32 letters and digits, always the same.
        """
        named = {"host_": host, "owner_": uuid.uuid4().hex}

        def work(connection: Connection) -> str:
            insert_or_ignore(connection, sandbox_host, {"host": host, "lease_until_ms": 0})
            connection.execute(_NAME_OWNER, named)
            return connection.execute(_OWNER, {"host_": host}).scalar_one()

        return await self._database.write(work)

    async def alive(self) -> tuple[str, ...]:
        """The hosts whose lease runs, by name."""
        return await self._database.read(
            lambda connection: tuple(connection.execute(_HOSTS).scalars())
        )

    async def assign(self, session: str, default_host: str | None) -> str | None:
        """The host of a session's environment: chosen once, and again when it is dead.

        Args:
            session: the session's key.
            default_host: taken when it lives.

        Returns:
            The host that was chosen before, while it lives. When it is dead, the one that goes on
            with the session (`take_over`), or still the dead one, because the session's files are
            there and nowhere else. For a session that has none a living one, the default or the
            one with the fewest environments; None when no host lives.

        Raises:
            ServiceError: ResourceNotFoundException when there is no such session.
        """

        def look(connection: Connection) -> str | None:
            row = connection.execute(_LIVING_HOST, {"key_": session}).first()
            return None if row is None else row.host

        def work(connection: Connection) -> str | None:
            row = connection.execute(_HOST_OF_SESSION, {"key_": session}).first()
            if row is None:
                raise ServiceError(AwsError.NOT_FOUND, f"Session {session} does not exist.")
            if row.host is not None:
                return row.host if row.alive else take_over(connection, session, row.host)
            host = connection.execute(_LEAST_USED, {"preferred": default_host or ""}).scalar()
            if host is not None:
                connection.execute(_ASSIGN, {"key_": session, "host_": host})
            return host

        # Nearly always it has one that lives, which is found without waiting for writers.
        return await self._database.read(look) or await self._database.write(work)


def _record(row: Row[Any]) -> EnvironmentRecord:
    return EnvironmentRecord(
        session=row.session,
        provider=row.provider,
        host=row.host,
        generation=row.generation,
        boot_id=row.boot_id,
        state=EnvironmentState(row.state),
        reference=row.reference,
    )
