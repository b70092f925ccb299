"""Which hosts can go on with the sessions of which others, and what is left behind where."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("sandbox_host", sa.Column("volumes", sa.String(), nullable=True))
    op.add_column(
        "sandbox_host",
        sa.Column("may_lose_files", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "left_volume",
        sa.Column("host", sa.String(), primary_key=True),
        sa.Column("volume", sa.String(), primary_key=True),
    )
