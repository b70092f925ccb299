"""What a harness and an endpoint serve, and the change of them that is under way."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; what there is serves what it points at."""
    for table in ("harness", "harness_endpoint"):
        op.add_column(table, sa.Column("live_version", sa.Integer(), nullable=True))
        op.add_column(table, sa.Column("failure_reason", sa.String(), nullable=True))
        op.add_column(table, sa.Column("operation_id", sa.String(), nullable=True))
        op.execute(f"UPDATE {table} SET live_version = version")
        op.create_index(
            f"ix_{table}_operation",
            table,
            ["operation_id"],
            sqlite_where=sa.text("operation_id IS NOT NULL"),
            postgresql_where=sa.text("operation_id IS NOT NULL"),
        )
    op.add_column(
        "harness_endpoint",
        sa.Column("status", sa.String(), nullable=False, server_default="READY"),
    )
