"""`clientToken`: a repeated request answers as the first one did.

Tokens are kept for good: AWS does not document when its own lapse, and a row is small.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.errors import Reason, invalid
from contracts.records import EndpointRecord
from store.inserts import insert_or_ignore
from store.tables import client_token


@dataclass(frozen=True)
class Used:
    """What a token was used for.

    Attributes:
        harness_id: the harness.
        version: the version that was made; None when the operation made none or the first one.
        endpoint: what an operation on an endpoint answered.
    """

    harness_id: str
    version: int | None
    endpoint: EndpointRecord | None


@dataclass(frozen=True)
class ClientToken:
    """A request's token, if it has one, and a digest of what the request asks for."""

    account: str
    operation: str
    token: str | None
    params_digest: str

    def use(self, connection: Connection, harness_id: str) -> Used | None:
        """Claim the token for a harness, in the transaction that does the work.

        Returns:
            What it was used for before; None when this is the first use.

        Raises:
            ServiceError: ValidationException with reason IdempotentParameterMismatchException.
        """
        if self.token is None:
            return None
        row = {
            "account": self.account,
            "operation": self.operation,
            "token": self.token,
            "params_digest": self.params_digest,
            "harness_id": harness_id,
            "created_at": datetime.now(UTC),
        }
        if insert_or_ignore(connection, client_token, row):
            return None
        earlier = connection.execute(
            sa.select(
                client_token.c.params_digest,
                client_token.c.harness_id,
                client_token.c.version,
                client_token.c.endpoint,
            ).where(*self._key())
        ).one()
        if earlier.params_digest != self.params_digest:
            raise invalid(
                "clientToken",
                "was used before with other parameters; use a new token",
                reason=Reason.IDEMPOTENT_PARAMETER_MISMATCH,
            )
        return Used(earlier.harness_id, earlier.version, earlier.endpoint)

    def remember(
        self,
        connection: Connection,
        *,
        version: int | None = None,
        endpoint: EndpointRecord | None = None,
    ) -> None:
        """Note what the work made, in its transaction, for repetitions to show."""
        if self.token is not None:
            connection.execute(
                sa.update(client_token)
                .where(*self._key())
                .values(version=version, endpoint=endpoint)
            )

    def _key(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            client_token.c.account == self.account,
            client_token.c.operation == self.operation,
            client_token.c.token == self.token,
        )
