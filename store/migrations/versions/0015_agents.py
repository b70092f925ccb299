"""Where an agent's decision comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the column."""
    op.add_column("decision", sa.Column("root_session", sa.String(), nullable=True))
