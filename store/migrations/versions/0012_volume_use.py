"""When an environment was last used, so that old files can be removed."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column; what is there counts as used now, so that nothing goes too early."""
    op.add_column("environment", sa.Column("used_at_ms", sa.BigInteger(), nullable=True))
    environment = sa.table("environment", sa.column("used_at_ms", sa.BigInteger()))
    op.execute(environment.update().values(used_at_ms=int(time.time() * 1000)))
