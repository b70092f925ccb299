"""What a model call cost, and finding the sessions of a harness."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column and the index."""
    op.add_column("message", sa.Column("cost_pico_usd", sa.BigInteger(), nullable=True))
    op.create_index("ix_session_harness", "session", ["account", "harness_id", "created_at"])
