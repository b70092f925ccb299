"""Resolved configurations, stored once under their digest."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.errors import AwsError, ServiceError
from contracts.harness import RunConfig
from store.digests import digest
from store.engine import Database
from store.inserts import insert_or_ignore
from store.tables import run_config

_BY_DIGEST = sa.select(run_config.c.body).where(run_config.c.digest == sa.bindparam("digest"))


class Configs:
    """What invocations run with."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def put(self, config: RunConfig) -> str:
        """Store a configuration; doing it again changes nothing.

        Returns:
            SHA-256 in hexadecimal of its canonical JSON.
        """
        name = digest(config.model_dump(mode="json"))

        def work(connection: Connection) -> None:
            if connection.execute(_BY_DIGEST, {"digest": name}).first() is None:
                insert_or_ignore(
                    connection,
                    run_config,
                    {"digest": name, "body": config, "created_at": datetime.now(UTC)},
                )

        await self._database.update(work)
        return name

    async def get(self, digest: str) -> RunConfig:
        """The configuration with a digest.

        Raises:
            ServiceError: ResourceNotFoundException when there is none.
        """
        found = await self._database.read(
            lambda connection: connection.execute(_BY_DIGEST, {"digest": digest}).scalar()
        )
        if found is None:
            raise ServiceError(AwsError.NOT_FOUND, f"No configuration has the digest {digest}.")
        return found
