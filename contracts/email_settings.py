"""Where mail about decisions goes out and to whom, as the operator says it.

The URL of the mail server holds a user and a password, and is never shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, ValidationError, field_validator

from contracts.approvals import Deciders
from contracts.base import WireValue
from contracts.env_values import flag, items
from contracts.webhook_settings import is_loopback

#: Of RFC 5321 what people have: no quotes, no comments, no address literals, nothing that could end
#: a line or begin another address.
ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})")
#: Mails about one notice: a role with more people than that wants a mailing list.
MAX_RECIPIENTS = 50

_PORTS = {"smtp": 587, "smtps": 465}


class AddressBook(WireValue):
    """Addresses of those who decide: `{"users": {NAME: [ADDRESS]}, "roles": {NAME: [ADDRESS]}}`.

    Attributes:
        users: by user name.
        roles: by role.
    """

    users: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    roles: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])

    @field_validator("users", "roles", mode="before")
    @classmethod
    def _one_or_many(cls, named: object) -> object:
        if not isinstance(named, dict):
            return named
        return {name: [it] if isinstance(it, str) else it for name, it in named.items()}  # pyright: ignore[reportUnknownVariableType]

    @field_validator("users", "roles")
    @classmethod
    def _check(cls, named: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, addresses in named.items():
            for address in addresses:
                if not ADDRESS.fullmatch(address):
                    raise ValueError(f"what {name!r} has is no mail address")
        return named

    @classmethod
    def read(cls, path: Path) -> "AddressBook":
        """Read the file.

        Raises:
            ValueError: it is not there, or not such a book.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ValueError(
                f"EVERLOOP_EMAIL_BOOK: {path} cannot be read: {error.strerror}"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ValueError(
                f"EVERLOOP_EMAIL_BOOK: {path}: {where or 'the file'}: {first['msg']}"
            ) from None


@dataclass(frozen=True)
class EmailSettings:
    """A mail server, and whom it reaches.

    Attributes:
        host: of the server.
        port: of the server.
        tls: whether the connection begins with TLS; otherwise STARTTLS follows, and must, unless
            the server is on this machine.
        user: what to log in as; None does not log in.
        password: of the user.
        sender: an address, with or without a name before it.
        to: who gets mail about decisions for which the book has nobody.
        book: addresses of users and roles.
        arguments: whether mails show the arguments of calls.
        public_url: the API's address as readers know it, without a slash at its end.
    """

    host: str
    port: int
    sender: str
    tls: bool = False
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)
    to: tuple[str, ...] = ()
    book: AddressBook = field(default=AddressBook(), repr=False)
    arguments: bool = False
    public_url: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, api_url: str) -> "EmailSettings | None":
        """Read EVERLOOP_SMTP_URL and `EVERLOOP_EMAIL_*`; None without EVERLOOP_SMTP_URL.

        Args:
            env: the variables.
            api_url: the API's address when EVERLOOP_PUBLIC_URL names none.

        Raises:
            ValueError: a variable does not hold what it must; the message never quotes the URL.
        """
        url = env.get("EVERLOOP_SMTP_URL")
        if not url:
            return None
        sender = env.get("EVERLOOP_EMAIL_FROM", "")
        if not ADDRESS.fullmatch(parseaddr(sender)[1]) or not sender.isprintable():
            raise ValueError("EVERLOOP_EMAIL_FROM must be an address, or a name and <an address>")
        to = items(env, "EVERLOOP_EMAIL_TO")
        if not all(ADDRESS.fullmatch(each) for each in to) or len(to) > MAX_RECIPIENTS:
            raise ValueError(
                f"EVERLOOP_EMAIL_TO must be addresses with commas between, {MAX_RECIPIENTS} at most"
            )
        path = env.get("EVERLOOP_EMAIL_BOOK")
        book = AddressBook.read(Path(path)) if path else AddressBook()
        if not to and not book.users and not book.roles:
            raise ValueError(
                "EVERLOOP_SMTP_URL needs EVERLOOP_EMAIL_TO or EVERLOOP_EMAIL_BOOK: there is nobody "
                "to write to"
            )
        return cls(
            **_server(url),
            sender=sender,
            to=to,
            book=book,
            arguments=flag(env, "EVERLOOP_EMAIL_ARGUMENTS"),
            public_url=(env.get("EVERLOOP_PUBLIC_URL") or api_url).rstrip("/"),
        )

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback(self.host)

    @property
    def domain(self) -> str:
        """Where ids of messages are from."""
        return parseaddr(self.sender)[1].partition("@")[2]

    def recipients(self, deciders: Deciders) -> tuple[str, ...]:
        """Who is written to about a decision, `MAX_RECIPIENTS` at most.

        Args:
            deciders: who may decide; users and roles that the book does not have are left out.
        """
        found = [
            address
            for named, names in (
                (self.book.users, deciders.users),
                (self.book.roles, deciders.roles),
            )
            for name in names
            for address in named.get(name, ())
        ]
        return tuple(dict.fromkeys(found or self.to))[:MAX_RECIPIENTS]


def _server(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("EVERLOOP_SMTP_URL is no URL") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("EVERLOOP_SMTP_URL is no URL")
    if parts.scheme not in _PORTS or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "EVERLOOP_SMTP_URL must be smtp://USER:PASSWORD@HOST:PORT or smtps://..., without path"
        )
    if (parts.username is None) != (parts.password is None):
        raise ValueError("EVERLOOP_SMTP_URL must have a user and a password, or neither")
    user = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "")
    if not f"{user}{password}".isascii():
        raise ValueError("EVERLOOP_SMTP_URL must have a user and a password of ASCII")
    return {
        "host": host,
        "port": port or _PORTS[parts.scheme],
        "tls": parts.scheme == "smtps",
        "user": user,
        "password": password,
    }
