"""Who calls, as far as it was shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """The caller of an operation.

    Attributes:
        admitted_to: the harness ARN and the qualifier that a token was judged for; None for a
            caller who signs.
        subject: the token's `sub`; None when it has none, and for a caller who signs.
    """

    admitted_to: tuple[str, str] | None = None
    subject: str | None = None


#: Whoever signs acts for the account.
SIGNER = Caller()
