"""Notices about decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0012"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "notice",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["session.key"], name="fk_notice_session", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["decision"], ["decision.id"], name="fk_notice_decision", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_notice"),
    )
    op.create_index("ix_notice_list", "notice", ["account", "at", "id"], unique=False)
    op.create_index("ix_notice_state", "notice", ["account", "state", "at", "id"], unique=False)
    op.create_index("ix_notice_session", "notice", ["session"], unique=False)
    op.create_index("ix_notice_decision", "notice", ["decision"], unique=False)
    waits = sa.text("state = 'waiting'")
    op.create_index(
        "ix_notice_due",
        "notice",
        ["due_at"],
        unique=False,
        sqlite_where=waits,
        postgresql_where=waits,
    )
