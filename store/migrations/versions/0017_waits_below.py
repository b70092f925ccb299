"""Turns that only wait for agents, which wait for people."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "invocation",
        sa.Column("waits_below", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
