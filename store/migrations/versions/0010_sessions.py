"""Whose sessions are, when they were used last, and where they were forked from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0008"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns and fill them for what is there."""
    long_ago = sa.text("'1970-01-01 00:00:00'")
    at = sa.DateTime(timezone=True)
    op.add_column("session", sa.Column("actor_id", sa.String()))
    op.add_column("session", sa.Column("active_at", at, nullable=False, server_default=long_ago))
    op.add_column("session", sa.Column("forked_from", sa.String()))
    op.add_column("session", sa.Column("forked_seq", sa.Integer()))
    op.add_column("session", sa.Column("fork_digest", sa.String()))
    op.add_column("session", sa.Column("defaults", _JSON))
    op.create_index("ix_session_forked_from", "session", ["forked_from"])
    op.add_column(
        "session",
        sa.Column("deleting", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("invocation", sa.Column("actor_id", sa.String()))
    op.execute("UPDATE session SET active_at = created_at")
    op.execute(
        "UPDATE invocation SET actor_id = (SELECT body ->> 'actorId' FROM run_config"
        " WHERE run_config.digest = invocation.config_digest)"
    )
    op.execute(
        "UPDATE session SET actor_id = (SELECT actor_id FROM invocation"
        " WHERE invocation.session = session.key ORDER BY created_at, invocation_id LIMIT 1)"
    )
    op.create_index("ix_session_account", "session", ["account", "created_at", "key"])
    op.create_index("ix_session_active", "session", ["account", "active_at"])
    op.create_index("ix_invocation_actor", "invocation", ["actor_id", "session"])
    op.create_index("ix_invocation_config", "invocation", ["config_digest"])
    op.create_index("ix_invocation_listing", "invocation", ["session", "created_at"])
    op.create_table(
        "deletion",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("requested_at", at, nullable=False),
        sa.Column("completed_at", at, nullable=True),
        sa.Column("counts", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deletion"),
        sa.UniqueConstraint("subject", "kind", "account", name="uq_deletion_subject_kind_account"),
    )
    op.create_index("ix_deletion_digest", "deletion", ["account", "digest"])
    op.create_index("ix_deletion_completed", "deletion", ["completed_at"])
