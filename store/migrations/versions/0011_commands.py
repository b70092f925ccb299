"""Commands beside turns, stops of sessions, and the endpoints of sandbox hosts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0009"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_STARTED = sa.text("state = 'started'")


def upgrade() -> None:
    """Create the tables and columns."""
    op.add_column("sandbox_host", sa.Column("address", sa.String(), nullable=True))
    op.add_column("sandbox_host", sa.Column("secret", sa.String(), nullable=True))
    op.create_table(
        "command",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("timeout_s", sa.Integer(), nullable=False),
        sa.Column("request_digest", sa.String(), nullable=False),
        sa.Column("config_digest", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=True),
        sa.Column("result", _JSON, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["session"], ["session.key"], name="fk_command_session"),
        sa.ForeignKeyConstraint(
            ["config_digest"], ["run_config.digest"], name="fk_command_config_digest"
        ),
        sa.PrimaryKeyConstraint("session", "id", name="pk_command"),
    )
    op.create_index(
        "ix_command_unfinished",
        "command",
        ["session"],
        sqlite_where=_STARTED,
        postgresql_where=_STARTED,
    )
    op.create_table(
        "session_stop",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("invocation_id", sa.String(), nullable=True),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["session"], ["session.key"], name="fk_session_stop_session"),
        sa.PrimaryKeyConstraint("session", "token", name="pk_session_stop"),
    )
