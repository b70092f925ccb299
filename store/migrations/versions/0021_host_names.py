"""Which process has a sandbox host's name, and what it is called beyond this database."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("sandbox_host", sa.Column("place", sa.String(), nullable=True))
    op.add_column("sandbox_host", sa.Column("owner", sa.String(), nullable=True))
