"""The database's clock, which the hosts that share leases agree on."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles


class EpochMillis(sa.ColumnElement[int]):
    """Now, as milliseconds since 1970."""

    inherit_cache = True
    type = sa.BigInteger()


@compiles(EpochMillis, "sqlite")
def _on_sqlite(_element: EpochMillis, _compiler: Any, **_options: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


@compiles(EpochMillis, "postgresql")
def _on_postgres(_element: EpochMillis, _compiler: Any, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
