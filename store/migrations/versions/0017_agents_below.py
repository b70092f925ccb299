"""What is below a session: turns that wait for agents, agents' sessions; and how notices are sent."""

import hashlib

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns, and name the callers of agents' sessions that are there."""
    op.add_column(
        "invocation",
        sa.Column("waits_below", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("session", sa.Column("called_from", sa.String()))
    op.create_index("ix_session_called_from", "session", ["called_from"])
    op.add_column("deletion", sa.Column("parent", sa.String()))
    op.create_index("ix_deletion_parent", "deletion", ["parent"])
    op.add_column("deletion", sa.Column("executions", _JSON))
    op.add_column("notice", sa.Column("channel", sa.String()))
    op.add_column("notice", sa.Column("recipient", sa.String()))
    op.execute("UPDATE notice SET channel = 'webhook' WHERE state <> 'waiting' OR attempts > 0")
    actor = "(SELECT body ->> 'actorId' FROM run_config WHERE digest = invocation.config_digest)"
    op.execute(f"UPDATE invocation SET actor_id = {actor} WHERE actor_id IS NULL")
    op.execute(
        "UPDATE session SET actor_id = (SELECT actor_id FROM invocation"
        " WHERE invocation.session = session.key ORDER BY created_at, invocation_id LIMIT 1)"
        " WHERE actor_id IS NULL"
    )
    connection = op.get_bind()
    calls = connection.execute(sa.text("SELECT session, id FROM call WHERE kind = 'agent'")).all()
    for session, call in calls:
        connection.execute(
            sa.text("UPDATE session SET called_from = :caller WHERE runtime_session_id = :id"),
            {"caller": session, "id": _agent_session_id(session, call)},
        )


def _agent_session_id(session: str, tool_use_id: str) -> str:
    """As `contracts.agents.agent_session_id` was when this was written."""
    digest = hashlib.sha256(f"{session}\0{tool_use_id}".encode()).hexdigest()
    return f"agent-{digest[:40]}"
