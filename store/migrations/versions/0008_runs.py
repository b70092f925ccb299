"""Who is told of an invocation's end, and which turn an invocation resumed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("invocation", sa.Column("reply_to", sa.String(), nullable=True))
    op.add_column("invocation", sa.Column("root", sa.String(), nullable=True))
