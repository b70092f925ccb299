"""What settled model calls used, kept as they settle, so that nobody sums over a transcript."""

import sqlalchemy as sa

from contracts.messages import TokenUsage
from store.columns import Words
from store.tables import metadata

#: Of a session, by model.
model_usage = sa.Table(
    "model_usage",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("model_id", Words, primary_key=True),
    sa.Column("calls", sa.Integer, nullable=False),
    *(sa.Column(kind, sa.BigInteger, nullable=False) for kind in TokenUsage.model_fields),
    #: Trillionths of a dollar, of the calls whose price was known.
    sa.Column("cost", sa.BigInteger, nullable=False),
    #: How many those are.
    sa.Column("priced", sa.Integer, nullable=False),
)
