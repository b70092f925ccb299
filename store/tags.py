"""Tags of resources. A resource is named by the last part of its ARN, as `harness/helper-...`."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.errors import AwsError, ServiceError
from contracts.records import DEFAULT_ENDPOINT
from store.endpoints import find_endpoint
from store.engine import Database
from store.harness_rows import lock
from store.tables import tag
from store.tag_rows import drop_tags, put_tags, resource_name

#: AWS's quota for one resource.
MAX_TAGS = 50

_OF_RESOURCE = (
    sa.select(tag.c.key, tag.c.value)
    .where(tag.c.account == sa.bindparam("account"), tag.c.resource == sa.bindparam("resource"))
    .order_by(tag.c.key)
)


class Tags:
    """What TagResource, UntagResource and ListTagsForResource work on, for harnesses.

    `endpoint` names one of the harness's endpoints; None means the harness itself. All methods
    raise ServiceError: ResourceNotFoundException when what is named is not there.
    """

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def list(self, account: str, harness_id: str, endpoint: str | None) -> dict[str, str]:
        """The tags, by key."""

        def work(connection: Connection) -> dict[str, str]:
            find_endpoint(connection, account, harness_id, endpoint or DEFAULT_ENDPOINT)
            return _read(connection, account, resource_name(harness_id, endpoint))

        return await self._database.read(work)

    async def put(
        self, account: str, harness_id: str, endpoint: str | None, tags: Mapping[str, str]
    ) -> None:
        """Set tags; those that `tags` does not name stay.

        Raises:
            ServiceError: ServiceQuotaExceededException when there would be more than `MAX_TAGS`.
        """

        def work(connection: Connection) -> None:
            lock(connection, account, harness_id)
            find_endpoint(connection, account, harness_id, endpoint or DEFAULT_ENDPOINT)
            resource = resource_name(harness_id, endpoint)
            merged = _read(connection, account, resource) | dict(tags)
            if len(merged) > MAX_TAGS:
                raise ServiceError(
                    AwsError.QUOTA,
                    f"{resource} would have {len(merged)} tags; at most {MAX_TAGS} are allowed.",
                )
            drop_tags(connection, account, [resource])
            put_tags(connection, account, resource, merged)

        await self._database.write(work)

    async def remove(
        self, account: str, harness_id: str, endpoint: str | None, keys: Collection[str]
    ) -> None:
        """Remove tags by key; keys that are not there are no matter."""

        def work(connection: Connection) -> None:
            lock(connection, account, harness_id)
            find_endpoint(connection, account, harness_id, endpoint or DEFAULT_ENDPOINT)
            connection.execute(
                sa.delete(tag).where(
                    tag.c.account == account,
                    tag.c.resource == resource_name(harness_id, endpoint),
                    tag.c.key.in_(keys),
                )
            )

        await self._database.write(work)


def _read(connection: Connection, account: str, resource: str) -> dict[str, str]:
    rows = connection.execute(_OF_RESOURCE, {"account": account, "resource": resource})
    return {row.key: row.value for row in rows}
