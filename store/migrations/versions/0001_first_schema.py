"""The first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "client_token",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("params_digest", sa.String(), nullable=False),
        sa.Column("harness_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "operation", "token", name="pk_client_token"),
    )
    op.create_table(
        "environment",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reference", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("session", name="pk_environment"),
    )
    op.create_index("ix_environment_host", "environment", ["host"], unique=False)
    op.create_table(
        "harness",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("harness_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alive", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("account", "harness_id", name="pk_harness"),
    )
    op.create_index(
        "ix_harness_listing",
        "harness",
        ["account", "created_at", "harness_id"],
        unique=False,
        sqlite_where=sa.text("alive = 1"),
        postgresql_where=sa.text("alive"),
    )
    op.create_index(
        "uq_harness_alive_name",
        "harness",
        ["account", "name"],
        unique=True,
        sqlite_where=sa.text("alive = 1"),
        postgresql_where=sa.text("alive"),
    )
    op.create_table(
        "run_config",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_run_config"),
    )
    op.create_table(
        "sandbox_host",
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_sandbox_host"),
    )
    op.create_table(
        "session",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("harness_id", sa.String(), nullable=False),
        sa.Column("runtime_session_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_cursor", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("running", sa.String(), nullable=True),
        sa.Column("settled_step", sa.Integer(), nullable=False),
        sa.Column("live_step", sa.Integer(), nullable=True),
        sa.Column("live_attempt", sa.Integer(), nullable=False),
        sa.Column("calls_seq", sa.Integer(), nullable=False),
        sa.Column("held_text", _JSON, nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_session"),
    )
    op.create_table(
        "call",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("invocation_id", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=True),
        sa.Column("queue", sa.String(), nullable=True),
        sa.Column("timeout_s", sa.Integer(), nullable=False),
        sa.Column("input", _JSON, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=True),
        sa.Column("content", _JSON, nullable=True),
        sa.Column("shown", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["session"], ["session.key"], name="fk_call_session"),
        sa.PrimaryKeyConstraint("session", "id", name="pk_call"),
        sa.UniqueConstraint("session", "seq", "position", name="uq_call_session_seq_position"),
    )
    op.create_table(
        "event",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("invocation_id", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("payload", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["session"], ["session.key"], name="fk_event_session"),
        sa.PrimaryKeyConstraint("session", "cursor", name="pk_event"),
        sa.UniqueConstraint(
            "session",
            "invocation_id",
            "step",
            "kind",
            "attempt",
            "position",
            name="uq_event_session_invocation_id_step_kind_attempt_position",
        ),
    )
    op.create_table(
        "harness_version",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("harness_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("config", _JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "harness_id"],
            ["harness.account", "harness.harness_id"],
            name="fk_harness_version_account_harness_id",
        ),
        sa.PrimaryKeyConstraint("account", "harness_id", "version", name="pk_harness_version"),
    )
    op.create_table(
        "invocation",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("invocation_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("request_digest", sa.String(), nullable=False),
        sa.Column("config_digest", sa.String(), nullable=False),
        sa.Column("messages", _JSON, nullable=True),
        sa.Column("first_cursor", sa.BigInteger(), nullable=False),
        sa.Column("stop_reason", sa.String(), nullable=True),
        sa.Column("error", _JSON, nullable=True),
        sa.Column("failure_note", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["config_digest"], ["run_config.digest"], name="fk_invocation_config_digest"
        ),
        sa.ForeignKeyConstraint(["session"], ["session.key"], name="fk_invocation_session"),
        sa.PrimaryKeyConstraint("session", "invocation_id", name="pk_invocation"),
    )
    op.create_table(
        "message",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("invocation_id", sa.String(), nullable=False),
        sa.Column("user_text", sa.Boolean(), nullable=False),
        sa.Column("body", _JSON, nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cache_read_input_tokens", sa.Integer(), nullable=True),
        sa.Column("cache_write_input_tokens", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("model_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["session"], ["session.key"], name="fk_message_session"),
        sa.PrimaryKeyConstraint("session", "seq", name="pk_message"),
    )
    op.create_index(
        "ix_message_user_text",
        "message",
        ["session", "seq"],
        unique=False,
        sqlite_where=sa.text("user_text = 1"),
        postgresql_where=sa.text("user_text"),
    )
    op.create_index(
        "uq_message_step",
        "message",
        ["session", "invocation_id", "step"],
        unique=True,
        sqlite_where=sa.text("step IS NOT NULL"),
        postgresql_where=sa.text("step IS NOT NULL"),
    )
