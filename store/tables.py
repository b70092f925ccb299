"""The one schema, for SQLite and PostgreSQL.

Everything about a session hangs on its `session` row: whoever changes the session locks that row
first, so that cursors ascend in commit order and a settled step cannot be written again. The row
also says which invocation runs and which attempt may write; a writer is let in or refused by the
same UPDATE that takes its cursor. A settled step has no table: it is the assistant message that it
made.
"""

from typing import Annotated

import sqlalchemy as sa
from pydantic import Field

from contracts.decisions import Gate
from contracts.environment import CommandResult
from contracts.errors import ErrorDetail
from contracts.events import Payload
from contracts.harness import HarnessConfig, RunConfig
from contracts.messages import Message, TextBlock, TokenUsage
from contracts.records import EndpointRecord
from contracts.sessions import SessionDefaults
from contracts.tracing import TraceContext
from contracts.turn_files import TurnFiles
from store.columns import Document, Utc, Words

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

MESSAGE = Document(Message)
MESSAGES = Document(tuple[Message, ...])

harness = sa.Table(
    "harness",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("harness_id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("updated_at", Utc, nullable=False),
    sa.Column("alive", sa.Boolean, nullable=False),
    #: The version that DEFAULT serves; none before the first is ready.
    sa.Column("live_version", sa.Integer),
    sa.Column("failure_reason", Words),
    #: The change that is under way.
    sa.Column("operation_id", sa.String),
)
sa.Index(
    "ix_harness_operation",
    harness.c.operation_id,
    sqlite_where=harness.c.operation_id.is_not(None),
    postgresql_where=harness.c.operation_id.is_not(None),
)
sa.Index(
    "uq_harness_alive_name",
    harness.c.account,
    harness.c.name,
    unique=True,
    sqlite_where=sa.text("alive = 1"),
    postgresql_where=sa.text("alive"),
)
sa.Index(
    "ix_harness_listing",
    harness.c.account,
    harness.c.created_at,
    harness.c.harness_id,
    sqlite_where=sa.text("alive = 1"),
    postgresql_where=sa.text("alive"),
)

harness_version = sa.Table(
    "harness_version",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("harness_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("config", Document(HarnessConfig), nullable=False),
    sa.ForeignKeyConstraint(["account", "harness_id"], ["harness.account", "harness.harness_id"]),
)

#: Endpoints but DEFAULT, which needs none.
harness_endpoint = sa.Table(
    "harness_endpoint",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("harness_id", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    #: The version that it points at.
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("description", Words),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("updated_at", Utc, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    #: The version that it serves; none before the first is ready.
    sa.Column("live_version", sa.Integer),
    sa.Column("failure_reason", Words),
    #: The change that is under way.
    sa.Column("operation_id", sa.String),
    sa.ForeignKeyConstraint(
        ["account", "harness_id", "version"],
        ["harness_version.account", "harness_version.harness_id", "harness_version.version"],
    ),
)
sa.Index(
    "ix_harness_endpoint_operation",
    harness_endpoint.c.operation_id,
    sqlite_where=harness_endpoint.c.operation_id.is_not(None),
    postgresql_where=harness_endpoint.c.operation_id.is_not(None),
)

#: `clientToken`s that were used, and which harness they were used for.
client_token = sa.Table(
    "client_token",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("operation", sa.String, primary_key=True),
    sa.Column("token", sa.String, primary_key=True),
    sa.Column("params_digest", sa.String, nullable=False),
    sa.Column("harness_id", sa.String, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    #: The version that the operation made, if it made one after the first.
    sa.Column("version", sa.Integer),
    #: What an operation on an endpoint answered.
    sa.Column("endpoint", Document(EndpointRecord)),
)

tag = sa.Table(
    "tag",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    #: The last part of the resource's ARN.
    sa.Column("resource", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

run_config = sa.Table(
    "run_config",
    metadata,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("body", Document(RunConfig), nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

session = sa.Table(
    "session",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("harness_id", sa.String, nullable=False),
    sa.Column("runtime_session_id", sa.String, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    #: The newest row of the event log.
    sa.Column("last_cursor", sa.BigInteger, nullable=False),
    #: The newest message of the transcript.
    sa.Column("last_seq", sa.Integer, nullable=False),
    #: The invocation whose turn runs.
    sa.Column("running", sa.String),
    #: The newest settled step of that invocation.
    sa.Column("settled_step", sa.Integer, nullable=False),
    #: The step in flight, and the attempt that may write it.
    sa.Column("live_step", sa.Integer),
    sa.Column("live_attempt", sa.Integer, nullable=False),
    #: The assistant message whose results are not in the transcript yet; 0 when there is none.
    sa.Column("calls_seq", sa.Integer, nullable=False),
    #: Text that joins the message of those results.
    sa.Column("held_text", Document(tuple[TextBlock, ...])),
    #: The sandbox host that owns the session's environment.
    sa.Column("host", sa.String),
    #: On whose behalf its first invocation ran.
    sa.Column("actor_id", sa.String),
    #: When an invocation last came, opened or ended: what retention counts from.
    sa.Column("active_at", Utc, nullable=False),
    #: The session whose messages it began with; gone once that is deleted.
    sa.Column("forked_from", sa.String, index=True),
    #: How many they were.
    sa.Column("forked_seq", sa.Integer),
    #: The session whose call it runs, when an agent runs in it: it goes with that one.
    sa.Column("called_from", sa.String, index=True),
    #: Of the request that forked it.
    sa.Column("fork_digest", sa.String),
    sa.Column("defaults", Document(SessionDefaults)),
    #: Whether it is being deleted, so that nothing may come in any more.
    sa.Column("deleting", sa.Boolean, nullable=False),
)
sa.Index("ix_session_harness", session.c.account, session.c.harness_id, session.c.created_at)
sa.Index("ix_session_account", session.c.account, session.c.created_at, session.c.key)
sa.Index("ix_session_active", session.c.account, session.c.active_at)

invocation = sa.Table(
    "invocation",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("invocation_id", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("request_digest", sa.String, nullable=False),
    sa.Column("config_digest", sa.String, sa.ForeignKey("run_config.digest"), nullable=False),
    #: What the request brought; dropped once it is in the transcript or refused.
    sa.Column("messages", MESSAGES),
    sa.Column("first_cursor", sa.BigInteger, nullable=False),
    sa.Column("stop_reason", sa.String),
    sa.Column("error", Document(ErrorDetail)),
    #: What a provider said when a model call failed last; shown if the turn ends by it.
    sa.Column("failure_note", sa.String),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("ended_at", Utc),
    #: The workflow that waits for its end, whoever resumes its turn.
    sa.Column("reply_to", sa.String),
    #: The invocation that began the turn which this one resumed; absent when it began its own.
    sa.Column("root", sa.String),
    #: On whose behalf it ran.
    sa.Column("actor_id", sa.String),
    #: Whether all that its turn does is to wait for agents that wait for people.
    sa.Column("waits_below", sa.Boolean, nullable=False, server_default=sa.false()),
    #: The span in which the caller invoked.
    sa.Column("trace", Document(TraceContext)),
)
sa.Index("ix_invocation_actor", invocation.c.actor_id, invocation.c.session)
sa.Index("ix_invocation_config", invocation.c.config_digest)
sa.Index("ix_invocation_listing", invocation.c.session, invocation.c.created_at)

sa.Index(
    "ix_invocation_new",
    invocation.c.session,
    invocation.c.invocation_id,
    sqlite_where=sa.text("state = 'new'"),
    postgresql_where=sa.text("state = 'new'"),
)
sa.Index(
    "ix_invocation_open",
    invocation.c.session,
    invocation.c.invocation_id,
    sqlite_where=sa.text("state = 'open'"),
    postgresql_where=sa.text("state = 'open'"),
)
sa.Index(
    "ix_invocation_root",
    invocation.c.session,
    invocation.c.root,
    sqlite_where=sa.text("root IS NOT NULL"),
    postgresql_where=sa.text("root IS NOT NULL"),
)

#: The transcript. An assistant message that a step made also carries what the step cost.
message = sa.Table(
    "message",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("invocation_id", sa.String, nullable=False),
    #: Whether a user wrote text in it.
    sa.Column("user_text", sa.Boolean, nullable=False),
    sa.Column("body", MESSAGE, nullable=False),
    sa.Column("step", sa.Integer),
    sa.Column("attempt", sa.Integer),
    sa.Column("input_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    sa.Column("cache_read_input_tokens", sa.Integer),
    sa.Column("cache_write_input_tokens", sa.Integer),
    sa.Column("latency_ms", sa.Integer),
    sa.Column("model_id", Words),
    sa.Column("created_at", Utc, nullable=False),
    #: Trillionths of a dollar; absent when the model's price was not known.
    sa.Column("cost_pico_usd", sa.BigInteger),
)
sa.Index(
    "uq_message_step",
    message.c.session,
    message.c.invocation_id,
    message.c.step,
    unique=True,
    sqlite_where=sa.text("step IS NOT NULL"),
    postgresql_where=sa.text("step IS NOT NULL"),
)
sa.Index(
    "ix_message_user_text",
    message.c.session,
    message.c.seq,
    sqlite_where=sa.text("user_text = 1"),
    postgresql_where=sa.text("user_text"),
)

#: Summaries of beginnings of transcripts. The transcript keeps what they stand for.
summary = sa.Table(
    "summary",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("upto_seq", sa.Integer, primary_key=True),
    sa.Column("text", Words, nullable=False),
    *(sa.Column(kind, sa.Integer, nullable=False) for kind in TokenUsage.model_fields),
    sa.Column("cost_pico_usd", sa.BigInteger),
    #: Whether a settled step's usage has it.
    sa.Column("counted", sa.Boolean, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

call = sa.Table(
    "call",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("invocation_id", sa.String, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", Words, nullable=False),
    sa.Column("kind", sa.String),
    sa.Column("queue", sa.String),
    sa.Column("timeout_s", sa.Integer, nullable=False),
    sa.Column("input", Document(dict[str, object]), nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("boot_id", Words),
    sa.Column("status", sa.String),
    sa.Column("content", Document(tuple[str, ...])),
    #: Whether a RESULTS row named it while other calls of its message were still without outcome.
    sa.Column("shown", sa.Boolean, nullable=False),
    #: What it must pass before it runs; null once it has.
    sa.Column("gate", Document(Gate)),
    #: What people said about it, which the model reads after the outcome.
    sa.Column("note", Words),
    #: The snapshot of the session's files that was made before it ran.
    sa.Column("snapshot_id", sa.String),
    sa.UniqueConstraint("session", "seq", "position"),
)
sa.Index(
    "ix_call_output",
    call.c.session,
    call.c.invocation_id,
    sqlite_where=sa.text("kind = 'output'"),
    postgresql_where=sa.text("kind = 'output'"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("cursor", sa.BigInteger, primary_key=True),
    sa.Column("invocation_id", sa.String, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("payload", Document(Annotated[Payload, Field(discriminator="kind")]), nullable=False),
    sa.UniqueConstraint("session", "invocation_id", "step", "kind", "attempt", "position"),
)

environment = sa.Table(
    "environment",
    metadata,
    sa.Column("session", sa.String, primary_key=True),
    sa.Column("provider", sa.String, nullable=False),
    sa.Column("host", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("boot_id", Words, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reference", Document(dict[str, str | int]), nullable=False),
    #: When the record was last written, as it is at each start and stop: milliseconds since 1970 on
    #: the database's clock.
    sa.Column("used_at_ms", sa.BigInteger),
)

sandbox_host = sa.Table(
    "sandbox_host",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    #: Milliseconds since 1970 on the database's clock.
    sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
    #: Where its endpoint is, and what callers of it must show.
    sa.Column("address", sa.String),
    sa.Column("secret", sa.String),
    #: The id of the volumes that it shares with other hosts; NULL when its volumes are its own.
    sa.Column("volumes", sa.String),
    #: Whether it goes on with sessions of dead hosts although their files are not here.
    sa.Column("may_lose_files", sa.Boolean, nullable=False, server_default=sa.false()),
    #: The data directory whose process has the name; NULL when none has.
    sa.Column("place", sa.String),
    #: Names the host beyond this database: others may call theirs the same.
    sa.Column("owner", sa.String),
)

#: Volumes on disks of hosts that died and whose sessions went on elsewhere without them. The host
#: removes them when it comes back. A volume's name tells nothing of the session.
left_volume = sa.Table(
    "left_volume",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("volume", sa.String, primary_key=True),
)

#: Commands beside turns. Their results are cut as those of tool calls are.
command = sa.Table(
    "command",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("command", Words, nullable=False),
    sa.Column("timeout_s", sa.Integer, nullable=False),
    sa.Column("request_digest", sa.String, nullable=False),
    sa.Column("config_digest", sa.String, sa.ForeignKey("run_config.digest"), nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("boot_id", Words),
    sa.Column("result", Document(CommandResult)),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("ended_at", Utc),
)
sa.Index(
    "ix_command_unfinished",
    command.c.session,
    sqlite_where=sa.text("state = 'started'"),
    postgresql_where=sa.text("state = 'started'"),
)

#: Requests to stop a session, and what each found.
session_stop = sa.Table(
    "session_stop",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("token", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer),
    sa.Column("invocation_id", sa.String),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

#: What tool calls did to a session's files.
turn_files = sa.Table(
    "turn_files",
    metadata,
    sa.Column("session", sa.String, sa.ForeignKey("session.key"), primary_key=True),
    sa.Column("invocation_id", sa.String, primary_key=True),
    #: Whether the end of the turn was looked at.
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("found", Document(TurnFiles), nullable=False),
)
sa.Index(
    "ix_turn_files_unsettled",
    turn_files.c.settled,
    turn_files.c.session,
    sqlite_where=sa.text("settled = 0"),
    postgresql_where=sa.text("NOT settled"),
)
