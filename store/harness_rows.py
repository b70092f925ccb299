"""Rows of harnesses and their versions, as every repository of the control plane reads them."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError
from contracts.records import HarnessRecord
from store.tables import harness, harness_version

READY = "READY"
DELETING = "DELETING"

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
    sa.select(harness.c.name, harness.c.version, harness.c.alive)
    .where(
        harness.c.account == sa.bindparam("account"),
        harness.c.harness_id == sa.bindparam("harness_id"),
    )
    .with_for_update()
)


def lock(connection: Connection, account: str, harness_id: str) -> Row[Any, Any, Any]:
    """Lock a living harness, so that changes to it and its endpoints come one after the other.

    Returns:
        Its name and its newest version.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    row = connection.execute(_LOCK, {"account": account, "harness_id": harness_id}).first()
    if row is None or not row.alive:
        raise missing(harness_id)
    return row


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


def missing_version(harness_id: str, version: str) -> ServiceError:
    """The error for a version that a harness does not have."""
    return ServiceError(
        AwsError.NOT_FOUND, f"Harness {harness_id} does not have a version {version}."
    )
