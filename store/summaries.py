"""Summaries of the beginnings of transcripts: made once, used by every later model call."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.messages import TokenUsage
from contracts.records import SummaryRecord
from store.engine import Database
from store.inserts import insert_or_ignore
from store.tables import summary

_OF_SESSION = summary.c.session == sa.bindparam("session_")
_NEWEST = (
    sa.select(summary)
    .where(_OF_SESSION, summary.c.upto_seq < sa.bindparam("before"))
    .order_by(summary.c.upto_seq.desc())
    .limit(1)
)
_UNCOUNTED = (
    sa.select(summary).where(_OF_SESSION, sa.not_(summary.c.counted)).order_by(summary.c.upto_seq)
)
_COUNTED = (
    sa.update(summary)
    .where(_OF_SESSION, summary.c.upto_seq == sa.bindparam("seq"))
    .values(counted=True)
)


class Summaries:
    """The summaries of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def newest(self, session: str, *, before_seq: int) -> SummaryRecord | None:
        """The summary that covers most without covering message `before_seq`."""

        def work(connection: Connection) -> SummaryRecord | None:
            row = connection.execute(_NEWEST, {"session_": session, "before": before_seq}).first()
            return None if row is None else _record(row)

        return await self._database.read(work)

    async def keep(self, session: str, made: SummaryRecord) -> None:
        """Keep a summary; when one up to the same message is there already, that one stays."""

        def work(connection: Connection) -> None:
            row = {
                "session": session,
                "upto_seq": made.upto_seq,
                "text": made.text,
                **made.usage.model_dump(),
                "cost_pico_usd": made.cost_pico_usd,
                "counted": False,
                "created_at": datetime.now(UTC),
            }
            insert_or_ignore(connection, summary, row)

        await self._database.write(work)

    async def uncounted(self, session: str) -> tuple[SummaryRecord, ...]:
        """Summaries whose making is in no settled step's usage yet."""

        def work(connection: Connection) -> tuple[SummaryRecord, ...]:
            rows = connection.execute(_UNCOUNTED, {"session_": session})
            return tuple(_record(row) for row in rows)

        return await self._database.read(work)


def mark_counted(connection: Connection, session_key: str, seqs: tuple[int, ...]) -> None:
    """Note that a step's usage has what these summaries used, in that step's transaction."""
    if seqs:
        connection.execute(_COUNTED, [{"session_": session_key, "seq": seq} for seq in seqs])


def _record(row: Any) -> SummaryRecord:
    return SummaryRecord(
        upto_seq=row.upto_seq,
        text=row.text,
        usage=TokenUsage(**{kind: getattr(row, kind) for kind in TokenUsage.model_fields}),
        cost_pico_usd=row.cost_pico_usd,
    )
