"""The table of notices. They go with their session."""

import sqlalchemy as sa

from store.columns import Utc
from store.tables import metadata

notice = sa.Table(
    "notice",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column(
        "session", sa.String, sa.ForeignKey("session.key", ondelete="CASCADE"), nullable=False
    ),
    sa.Column(
        "decision", sa.String, sa.ForeignKey("decision.id", ondelete="CASCADE"), nullable=False
    ),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("at", Utc, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    #: When it is to be given to a workflow, while it waits.
    sa.Column("due_at", Utc, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.String),
    sa.Column("settled_at", Utc),
    #: How it is sent, once a worker has seen it: notices are written by those who do not know.
    sa.Column("channel", sa.String),
    #: The address that it is mailed to.
    sa.Column("recipient", sa.String),
)
sa.Index("ix_notice_list", notice.c.account, notice.c.at, notice.c.id)
sa.Index("ix_notice_state", notice.c.account, notice.c.state, notice.c.at, notice.c.id)
sa.Index("ix_notice_session", notice.c.session)
sa.Index("ix_notice_decision", notice.c.decision)
sa.Index(
    "ix_notice_due",
    notice.c.due_at,
    sqlite_where=sa.text("state = 'waiting'"),
    postgresql_where=sa.text("state = 'waiting'"),
)
