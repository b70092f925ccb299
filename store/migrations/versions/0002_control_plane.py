"""Versions after the first, endpoints, tags."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Let a token remember what it made; create the tables of endpoints and tags."""
    op.add_column("client_token", sa.Column("version", sa.Integer(), nullable=True))
    op.add_column("client_token", sa.Column("endpoint", _JSON, nullable=True))
    op.create_table(
        "harness_endpoint",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("harness_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "harness_id", "version"],
            ["harness_version.account", "harness_version.harness_id", "harness_version.version"],
            name="fk_harness_endpoint_account_harness_id_version",
        ),
        sa.PrimaryKeyConstraint("account", "harness_id", "name", name="pk_harness_endpoint"),
    )
    op.create_table(
        "tag",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("account", "resource", "key", name="pk_tag"),
    )
