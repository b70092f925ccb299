"""Which KMS key the token vault is kept under."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "token_vault",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kms_key_arn", sa.String(), nullable=True),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_token_vault"),
    )
