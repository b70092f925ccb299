"""Sessions of dead hosts go on elsewhere: with whom, and the fence against a host that comes back.

A session moves in the transaction that finds its host dead. Its environment's record moves with it
and gets the next generation: whatever the old host still writes is refused, and what it still runs
has no record of its any more.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.environment import EnvironmentState
from contracts.ids import volume_name
from store.clock import EpochMillis
from store.inserts import insert_or_ignore
from store.tables import environment, left_volume, sandbox_host, session

_ALIVE = sandbox_host.c.lease_until_ms > EpochMillis()
_VOLUMES = sa.select(sandbox_host.c.volumes).where(sandbox_host.c.host == sa.bindparam("host_"))
_HEIRS = (
    sa.select(sandbox_host.c.host, sandbox_host.c.volumes)
    .where(_ALIVE)
    .order_by(
        sa.select(sa.func.count())
        .where(environment.c.host == sandbox_host.c.host)
        .scalar_subquery(),
        sandbox_host.c.host,
    )
    .limit(1)
)
_MOVE_SESSION = (
    sa.update(session)
    .where(session.c.key == sa.bindparam("key_"))
    .values(host=sa.bindparam("heir_"))
)
_OF_SESSION = environment.c.session == sa.bindparam("key_")
_MOVE_RECORD = (
    sa.update(environment)
    .where(_OF_SESSION)
    .values(
        host=sa.bindparam("heir_"),
        generation=environment.c.generation + 1,
        state=sa.case(
            (environment.c.state.in_(sa.bindparam("kept_", expanding=True)), environment.c.state),
            else_=sa.bindparam("state_", type_=sa.String),
        ),
        reference=sa.case(
            (
                environment.c.state.in_(sa.bindparam("same_", expanding=True)),
                environment.c.reference,
            ),
            else_=sa.bindparam("reference_", type_=environment.c.reference.type),
        ),
    )
)
_LEFT = sa.select(left_volume.c.volume).where(left_volume.c.host == sa.bindparam("host_"))
_REMOVED = sa.delete(left_volume).where(
    left_volume.c.host == sa.bindparam("host_"), left_volume.c.volume == sa.bindparam("volume_")
)


def take_over(connection: Connection, key: str, dead: str, *, keep_files: bool = False) -> str:
    """Move a session from a dead host to a living one, if one may go on with it.

    Args:
        connection: in a transaction that has found the host dead and locked the session.
        key: the session's.
        dead: its host.
        keep_files: never leave the files behind, whatever hosts may do.

    Returns:
        The host that the session has now: one that shares the dead one's volumes; else one that may
        go on without the files; else still the dead one.
    """
    volumes = connection.execute(_VOLUMES, {"host_": dead}).scalar()
    if volumes is not None:
        heir = connection.execute(_HEIRS.where(sandbox_host.c.volumes == volumes)).first()
        if heir is not None:
            _move(connection, key, heir.host, EnvironmentState.STOPPED, {})
            return heir.host
    if keep_files:
        return dead
    heir = connection.execute(_HEIRS.where(sandbox_host.c.may_lose_files)).first()
    if heir is None:
        return dead
    _move(connection, key, heir.host, EnvironmentState.FILES_LOST, {"host": dead})
    if volumes is None:
        insert_or_ignore(connection, left_volume, {"host": dead, "volume": volume_name(key)})
    # A host that has the session again keeps what it makes from here on.
    connection.execute(_REMOVED, {"host_": heir.host, "volume_": volume_name(key)})
    return heir.host


def left_volumes(connection: Connection, host: str) -> tuple[str, ...]:
    """The volumes of a host whose sessions went on elsewhere without them."""
    return tuple(connection.execute(_LEFT, {"host_": host}).scalars())


def forget_left(connection: Connection, host: str, volume: str) -> None:
    """A host has removed a volume that was left there."""
    connection.execute(_REMOVED, {"host_": host, "volume_": volume})


def _no_record(key: str, host: str) -> dict[str, object]:
    """The record of a session that has a host, and maybe files, and never had an environment."""
    return {
        "session": key,
        "provider": "",
        "host": host,
        "generation": 0,
        "boot_id": "",
        "state": EnvironmentState.STOPPED.value,
        "reference": {},
    }


def _move(
    connection: Connection,
    key: str,
    heir: str,
    state: EnvironmentState,
    reference: dict[str, str | int],
) -> None:
    # With a record to move, the old host cannot start an environment as if it were the first.
    insert_or_ignore(connection, environment, _no_record(key, heir))
    connection.execute(_MOVE_SESSION, {"key_": key, "heir_": heir})
    # What the model has yet to be told of its files.
    kept = [EnvironmentState.EXPIRED.value]
    if state is EnvironmentState.STOPPED:
        kept += [EnvironmentState.RESTORED.value, EnvironmentState.FILES_LOST.value]
    # A fork's copy is beside its volume, and goes with the volumes.
    same = [EnvironmentState.FORKED.value] if state is EnvironmentState.STOPPED else []
    kept += same
    parameters = {"key_": key, "heir_": heir, "state_": state.value, "kept_": kept, "same_": same}
    connection.execute(_MOVE_RECORD, parameters | {"reference_": reference})
