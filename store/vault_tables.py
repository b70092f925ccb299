"""The tables of the vault.

A secret is never in a column: a row holds its envelope, `store.vault_envelope.Sealed`. The primary
key is what the envelope is bound to, so that a row's secret cannot be moved to another one.
"""

from typing import Any

import sqlalchemy as sa

from store.columns import Utc, Words
from store.tables import metadata


def _envelope() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("version", sa.Integer, nullable=False),
        #: The master key under which the data key is wrapped.
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )


api_key_provider = sa.Table(
    "api_key_provider",
    metadata,
    sa.Column("arn", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("region", sa.String, nullable=False),
    sa.Column("secret_id", sa.String, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("updated_at", Utc, nullable=False),
    *_envelope(),
)
sa.Index(
    "ix_api_key_provider_listing",
    api_key_provider.c.account,
    api_key_provider.c.region,
    api_key_provider.c.created_at,
    api_key_provider.c.arn,
)

#: The keys that callers sign their requests with.
access_key = sa.Table(
    "access_key",
    metadata,
    sa.Column("access_key_id", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("label", Words, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("expires_at", Utc),
    *_envelope(),
)

#: What SetTokenVaultCMK chose; without a row, the configured key.
token_vault = sa.Table(
    "token_vault",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("kms_key_arn", sa.String),
    sa.Column("modified_at", Utc, nullable=False),
)
