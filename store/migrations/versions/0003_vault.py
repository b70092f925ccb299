"""The vault: API-key credential providers and access keys."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _envelope() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "api_key_provider",
        sa.Column("arn", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("secret_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        *_envelope(),
        sa.PrimaryKeyConstraint("arn", name="pk_api_key_provider"),
    )
    op.create_index(
        "ix_api_key_provider_listing",
        "api_key_provider",
        ["account", "region", "created_at", "arn"],
        unique=False,
    )
    op.create_table(
        "access_key",
        sa.Column("access_key_id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        *_envelope(),
        sa.PrimaryKeyConstraint("access_key_id", name="pk_access_key"),
    )
