"""Open invocations, which are few, are found without the ended ones."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "ix_invocation_open",
        "invocation",
        ["session", "invocation_id"],
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
