"""The tables of decisions and votes. They go with their session."""

import sqlalchemy as sa

from contracts.decisions import DecisionStatus, Gate
from contracts.errors import ErrorDetail
from store.columns import Document, Utc, Words
from store.tables import metadata

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column(
        "session", sa.String, sa.ForeignKey("session.key", ondelete="CASCADE"), nullable=False
    ),
    sa.Column("tool_use_id", sa.String, nullable=False),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("harness_id", sa.String, nullable=False),
    sa.Column("harness_version", sa.String, nullable=False),
    sa.Column("runtime_session_id", sa.String, nullable=False),
    sa.Column("invocation_id", sa.String, nullable=False),
    sa.Column("root_session", sa.String),
    sa.Column("tool", Words, nullable=False),
    sa.Column("kind", sa.String),
    sa.Column("proposed", Document(dict[str, object]), nullable=False),
    sa.Column("arguments", Document(dict[str, object]), nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("gate", Document(Gate), nullable=False),
    sa.Column("escalated", sa.Boolean, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("requested_at", Utc, nullable=False),
    sa.Column("due_at", Utc),
    sa.Column("decided_at", Utc),
    sa.Column("decided_by", Words),
    sa.UniqueConstraint("session", "tool_use_id"),
)
#: A literal, so that both databases see that the partial indices fit.
OPEN = decision.c.status == sa.literal_column(f"'{DecisionStatus.OPEN.value}'")
sa.Index(
    "ix_decision_inbox",
    decision.c.account,
    decision.c.status,
    decision.c.requested_at,
    decision.c.id,
)
sa.Index(
    "ix_decision_open",
    decision.c.session,
    sqlite_where=sa.text("status = 'open'"),
    postgresql_where=sa.text("status = 'open'"),
)
sa.Index(
    "ix_decision_due",
    decision.c.due_at,
    sqlite_where=sa.text("status = 'open'"),
    postgresql_where=sa.text("status = 'open'"),
)

#: Who may take part in a decision: `user:NAME`, `role:NAME` or `anybody`, for the inbox.
decision_who = sa.Table(
    "decision_who",
    metadata,
    sa.Column(
        "decision", sa.String, sa.ForeignKey("decision.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("who", sa.String, primary_key=True),
)

vote = sa.Table(
    "vote",
    metadata,
    sa.Column(
        "decision", sa.String, sa.ForeignKey("decision.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("vote_id", sa.String, primary_key=True),
    #: The order in which they were cast.
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("decider", Words, nullable=False),
    #: The roles that the decider had when the vote was cast.
    sa.Column("roles", Document(tuple[str, ...]), nullable=False),
    sa.Column("at", Utc, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("reason", Words),
    sa.Column("arguments", Document(dict[str, object])),
    sa.Column("answer", Words),
    sa.Column("refusal", Document(ErrorDetail)),
)
