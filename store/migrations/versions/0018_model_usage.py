"""Sums of what sessions used, and indices on resumed turns and on structured results."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_KINDS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
)


def upgrade() -> None:
    """Create the table, fill it from the transcripts, and create the indices."""
    op.create_table(
        "model_usage",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        *(sa.Column(kind, sa.BigInteger(), nullable=False) for kind in _KINDS),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("priced", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["session"], ["session.key"], name="fk_model_usage_session"),
        sa.PrimaryKeyConstraint("session", "model_id", name="pk_model_usage"),
    )
    kinds = ", ".join(_KINDS)
    sums = ", ".join(f"coalesce(sum({kind}), 0)" for kind in _KINDS)
    op.execute(
        f"INSERT INTO model_usage (session, model_id, calls, {kinds}, cost, priced)"
        f" SELECT session, coalesce(model_id, ''), count(*), {sums},"
        " coalesce(sum(cost_pico_usd), 0), count(cost_pico_usd)"
        " FROM message WHERE step IS NOT NULL GROUP BY session, coalesce(model_id, '')"
    )
    resumes = sa.text("root IS NOT NULL")
    op.create_index(
        "ix_invocation_root",
        "invocation",
        ["session", "root"],
        sqlite_where=resumes,
        postgresql_where=resumes,
    )
    output = sa.text("kind = 'output'")
    op.create_index(
        "ix_call_output",
        "call",
        ["session", "invocation_id"],
        sqlite_where=output,
        postgresql_where=output,
    )
