"""The files that turns left, and snapshots before calls."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"

_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the table and the column."""
    op.add_column("call", sa.Column("snapshot_id", sa.String(), nullable=True))
    op.create_table(
        "turn_files",
        sa.Column("session", sa.String(), sa.ForeignKey("session.key"), primary_key=True),
        sa.Column("invocation_id", sa.String(), primary_key=True),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("found", _JSON, nullable=False),
    )
    op.create_index(
        "ix_turn_files_unsettled",
        "turn_files",
        ["settled", "session"],
        sqlite_where=sa.text("settled = 0"),
        postgresql_where=sa.text("NOT settled"),
    )
