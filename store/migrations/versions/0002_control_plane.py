"""Versions after the first."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let a token remember the version that it made."""
    op.add_column("client_token", sa.Column("version", sa.Integer(), nullable=True))
