"""Rows of tags, written in the transaction that makes or deletes their resource."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.records import DEFAULT_ENDPOINT
from store.tables import tag


def resource_name(harness_id: str, endpoint: str | None = None) -> str:
    """The part of a harness's or endpoint's ARN that names it in its account."""
    harness = f"harness/{harness_id}"
    return harness if endpoint is None else f"{harness}/harness-endpoint/{endpoint}"


def tagged(harness_id: str) -> Sequence[str]:
    """What of a harness without named endpoints has tags."""
    return resource_name(harness_id), resource_name(harness_id, DEFAULT_ENDPOINT)


def put_tags(connection: Connection, account: str, resource: str, tags: Mapping[str, str]) -> None:
    """Insert the tags of a resource that has none of them."""
    rows = [
        {"account": account, "resource": resource, "key": key, "value": value}
        for key, value in tags.items()
    ]
    if rows:
        connection.execute(sa.insert(tag), rows)


def drop_tags(connection: Connection, account: str, resources: Sequence[str]) -> None:
    """Remove every tag of the resources."""
    connection.execute(
        sa.delete(tag).where(tag.c.account == account, tag.c.resource.in_(resources))
    )
