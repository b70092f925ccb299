"""The table of deletions and their receipts.

Every other table that holds something of a session names its key in a column `session`; that is how
deleting finds it.
"""

import sqlalchemy as sa

from store.columns import Document, Utc
from store.tables import metadata

deletion = sa.Table(
    "deletion",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    #: The session's key or the actor's id; gone once the deletion is complete.
    sa.Column("subject", sa.String),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("requested_by", sa.String, nullable=False),
    sa.Column("requested_at", Utc, nullable=False),
    sa.Column("completed_at", Utc),
    sa.Column("counts", Document(dict[str, int]), nullable=False),
    #: The deletion of the session that called the agent whose session this is.
    sa.Column("parent", sa.String, index=True),
    #: Temporal's workflows beside the session's own that go with it; gone with `subject`.
    sa.Column("executions", Document(tuple[str, ...])),
    sa.UniqueConstraint("subject", "kind", "account"),
)
sa.Index("ix_deletion_digest", deletion.c.account, deletion.c.digest)
sa.Index("ix_deletion_completed", deletion.c.completed_at)
