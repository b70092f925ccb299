"""Rows of harnesses and their versions, as every repository of the control plane reads them."""

import secrets
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError
from contracts.provisioning import GOING, Operation, ResourceStatus
from contracts.records import HarnessRecord
from store.tables import harness, harness_version, session

JOINED = sa.select(
    harness,
    harness_version.c.version.label("shown_version"),
    harness_version.c.created_at.label("versioned_at"),
    harness_version.c.config,
).join_from(
    harness,
    harness_version,
    (harness_version.c.account == harness.c.account)
    & (harness_version.c.harness_id == harness.c.harness_id),
)
_ONE = JOINED.where(
    harness.c.account == sa.bindparam("account"),
    harness.c.harness_id == sa.bindparam("harness_id"),
    harness_version.c.version
    == sa.func.coalesce(sa.bindparam("version", type_=sa.Integer), harness.c.version),
)
_LOCK = (
    sa.select(harness.c.name, harness.c.version, harness.c.alive, harness.c.status)
    .where(
        harness.c.account == sa.bindparam("account"),
        harness.c.harness_id == sa.bindparam("harness_id"),
    )
    .with_for_update()
)
_SHARE = (
    sa.select(harness.c.alive, harness.c.status)
    .where(
        harness.c.account == sa.bindparam("account"),
        harness.c.harness_id == sa.bindparam("harness_id"),
    )
    .with_for_update(read=True, key_share=True)
)
_OF_SESSION = sa.select(harness.c.alive, harness.c.status).join_from(
    harness,
    session,
    (session.c.account == harness.c.account)
    & (session.c.harness_id == harness.c.harness_id)
    & (session.c.key == sa.bindparam("key_")),
)


def lock(connection: Connection, account: str, harness_id: str) -> Row[Any, Any, Any, Any]:
    """Lock a living harness, so that changes to it and its endpoints come one after the other.

    Returns:
        Its name, its newest version and its status.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    row = connection.execute(_LOCK, {"account": account, "harness_id": harness_id}).first()
    if row is None or not row.alive:
        raise missing(harness_id)
    return row


def lock_settled(
    connection: Connection, account: str, harness_id: str, *, failed_delete: bool = False
) -> Row[Any, Any, Any, Any]:
    """As `lock`, for a harness that is to be changed.

    Args:
        connection: of the transaction.
        account: the owner.
        harness_id: which.
        failed_delete: whether a harness whose deletion failed will do.

    Raises:
        ServiceError: ResourceNotFoundException; ConflictException while another change is under
            way, or when nothing but to be deleted again is left to it.
    """
    row = lock(connection, account, harness_id)
    status = ResourceStatus(row.status)
    if status.moves:
        raise in_transition(f"Harness {harness_id}", status)
    if status is ResourceStatus.DELETE_FAILED and not failed_delete:
        raise ServiceError(
            AwsError.CONFLICT,
            f"Harness {harness_id} is {status}: its deletion failed half way, and it can only be "
            "deleted again.",
        )
    return row


def refuse_going(connection: Connection, account: str, harness_id: str) -> None:
    """Refuse to begin anything in a session of a harness that goes or is gone.

    The row is kept from being marked DELETING until this transaction ends: a session either begins
    before, and is ended with the harness, or not at all.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    row = connection.execute(_SHARE, {"account": account, "harness_id": harness_id}).first()
    if row is not None and not (row.alive and row.status not in GOING):
        raise going(harness_id)


def may_have_environment(connection: Connection, session_key: str) -> bool:
    """Whether an environment may be started for a session: its harness does not go."""
    row = connection.execute(_OF_SESSION, {"key_": session_key}).first()
    return row is None or (row.alive and row.status not in GOING)


def new_operation(account: str, harness_id: str, endpoint: str | None = None) -> Operation:
    """A change that is about to be under way."""
    return Operation(account, harness_id, secrets.token_hex(8), endpoint)


def find(
    connection: Connection, account: str, harness_id: str, version: int | None
) -> Row[Any] | None:
    """A version of a harness, dead or alive; the newest when `version` is None."""
    key = {"account": account, "harness_id": harness_id, "version": version}
    return connection.execute(_ONE, key).first()


def fetch(connection: Connection, account: str, harness_id: str, version: int | None) -> Row[Any]:
    """As `find`.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    row = find(connection, account, harness_id, version)
    if row is None:
        raise missing(harness_id)
    return row


def record(row: Row[Any]) -> HarnessRecord:
    """The record of a row of `JOINED`: a version changes no more once it is made."""
    return HarnessRecord(
        account=row.account,
        harness_id=row.harness_id,
        name=row.name,
        status=row.status,
        version=str(row.shown_version),
        created_at=row.created_at,
        updated_at=row.versioned_at,
        config=row.config,
        live_version=None if row.live_version is None else str(row.live_version),
        failure_reason=row.failure_reason,
        operation=row.operation_id and Operation(row.account, row.harness_id, row.operation_id),
    )


def version_number(harness_id: str, version: str) -> int:
    """A version as the tables have it.

    Raises:
        ServiceError: ResourceNotFoundException; no harness can have a version of that name.
    """
    if not (version.isascii() and version.isdecimal()):
        raise missing_version(harness_id, version)
    return int(version)


def missing(harness_id: str) -> ServiceError:
    """The error for a harness that is not there."""
    return ServiceError(AwsError.NOT_FOUND, f"Harness {harness_id} does not exist.")


def going(harness_id: str) -> ServiceError:
    """The error for a harness that is still there, but for nobody's use."""
    return ServiceError(AwsError.NOT_FOUND, f"Harness {harness_id} is being deleted.")


def in_transition(what: str, status: ResourceStatus) -> ServiceError:
    """The error for a resource that another change is under way of."""
    return ServiceError(
        AwsError.CONFLICT,
        f"{what} is {status}. It can be changed once that is over: repeat the call then.",
    )


def missing_version(harness_id: str, version: str) -> ServiceError:
    """The error for a version that a harness does not have."""
    return ServiceError(
        AwsError.NOT_FOUND, f"Harness {harness_id} does not have a version {version}."
    )
