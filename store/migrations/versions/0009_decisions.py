"""Decisions and votes; gates of calls; users and roles of access keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0013"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the tables and columns."""
    op.add_column("call", sa.Column("gate", _JSON, nullable=True))
    op.add_column("call", sa.Column("note", sa.String(), nullable=True))
    op.add_column("access_key", sa.Column("user_name", sa.String(), nullable=True))
    op.add_column("access_key", sa.Column("roles", sa.String(), nullable=True))
    new = sa.text("state = 'new'")
    op.create_index(
        "ix_invocation_new",
        "invocation",
        ["session", "invocation_id"],
        unique=False,
        sqlite_where=new,
        postgresql_where=new,
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("tool_use_id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("harness_id", sa.String(), nullable=False),
        sa.Column("harness_version", sa.String(), nullable=False),
        sa.Column("runtime_session_id", sa.String(), nullable=False),
        sa.Column("invocation_id", sa.String(), nullable=False),
        sa.Column("tool", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=True),
        sa.Column("proposed", _JSON, nullable=False),
        sa.Column("arguments", _JSON, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("gate", _JSON, nullable=False),
        sa.Column("escalated", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session"], ["session.key"], name="fk_decision_session", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_decision"),
        sa.UniqueConstraint("session", "tool_use_id", name="uq_decision_session_tool_use_id"),
    )
    op.create_index(
        "ix_decision_inbox",
        "decision",
        ["account", "status", "requested_at", "id"],
        unique=False,
    )
    opened = sa.text("status = 'open'")
    for name, column in (("ix_decision_open", "session"), ("ix_decision_due", "due_at")):
        op.create_index(
            name, "decision", [column], unique=False, sqlite_where=opened, postgresql_where=opened
        )
    op.create_table(
        "decision_who",
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision"], ["decision.id"], name="fk_decision_who_decision", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("decision", "who", name="pk_decision_who"),
    )
    op.create_table(
        "vote",
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("vote_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("decider", sa.String(), nullable=False),
        sa.Column("roles", _JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("arguments", _JSON, nullable=True),
        sa.Column("answer", sa.String(), nullable=True),
        sa.Column("refusal", _JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["decision"], ["decision.id"], name="fk_vote_decision", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("decision", "vote_id", name="pk_vote"),
    )
