"""The caller's trace context of an invocation."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0010"


def upgrade() -> None:
    """Add the column."""
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("invocation", sa.Column("trace", json, nullable=True))
