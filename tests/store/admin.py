"""What an administrator of a PostgreSQL server does beside the store."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


async def administer(url: str, statement: str) -> Any:
    """Run a statement outside a transaction; the first column of its first row, if it has any."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with engine.connect() as connection:
        result = await connection.execute(sa.text(statement))
        return result.scalar() if result.returns_rows else None
