"""The conversation of a session, as its settled messages."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.errors import AwsError, ServiceError
from contracts.messages import Message
from contracts.records import StoredMessage
from store.engine import Database
from store.tables import message

_COLUMNS = (message.c.seq, message.c.invocation_id, message.c.body)
_ONE = sa.select(message.c.body).where(
    message.c.session == sa.bindparam("session"), message.c.seq == sa.bindparam("seq")
)
_UP_TO = (
    sa.select(*_COLUMNS)
    .where(message.c.session == sa.bindparam("session"), message.c.seq <= sa.bindparam("upto"))
    .order_by(message.c.seq.desc())
)
_NEWEST = _UP_TO.limit(sa.bindparam("limit", type_=sa.Integer))
_USER_TEXT = _UP_TO.where(message.c.user_text).limit(1)


class Transcript:
    """The transcripts of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def window(
        self, session: str, *, upto_seq: int, limit: int | None
    ) -> tuple[StoredMessage, ...]:
        """The newest messages, oldest first.

        Args:
            session: the session's key.
            upto_seq: the newest message to return.
            limit: how many at most; None returns the transcript from its beginning.
        """
        parameters: dict[str, Any] = {"session": session, "upto": upto_seq}
        statement = _UP_TO
        if limit is not None:
            statement = _NEWEST
            parameters["limit"] = limit

        def work(connection: Connection) -> tuple[StoredMessage, ...]:
            rows = connection.execute(statement, parameters).all()
            return tuple(_stored(row) for row in reversed(rows))

        return await self._database.read(work)

    async def message(self, session: str, seq: int) -> Message:
        """One message.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        found = await self._database.read(
            lambda connection: connection.execute(_ONE, {"session": session, "seq": seq}).scalar()
        )
        if found is None:
            raise ServiceError(AwsError.NOT_FOUND, f"Session {session} has no message {seq}.")
        return found

    async def last_user_text(self, session: str, *, upto_seq: int) -> StoredMessage | None:
        """The newest user message up to `upto_seq` that holds text, if there is one."""

        def work(connection: Connection) -> StoredMessage | None:
            row = connection.execute(_USER_TEXT, {"session": session, "upto": upto_seq}).first()
            return None if row is None else _stored(row)

        return await self._database.read(work)


def _stored(row: Any) -> StoredMessage:
    return StoredMessage(row.seq, row.invocation_id, row.body)
