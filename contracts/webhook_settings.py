"""Where notices are sent, as the operator says it.

The URL is a secret too: those of chat services carry the right to write.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from contracts.env_values import choice, flag

#: What the body of a notice looks like.
FORMATS = ("everloop", "slack")


@dataclass(frozen=True)
class WebhookSettings:
    """A receiver of notices.

    Attributes:
        url: where notices are posted.
        secret: the key of their signature; None leaves them unsigned.
        format: one of `FORMATS`.
        arguments: whether they show the arguments of calls.
        public_url: the API's address as the receiver knows it, without a slash at its end.
    """

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    format: str = "everloop"
    arguments: bool = False
    public_url: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, api_url: str) -> "WebhookSettings | None":
        """Read `EVERLOOP_WEBHOOK_*` and EVERLOOP_PUBLIC_URL; None without EVERLOOP_WEBHOOK_URL.

        Args:
            env: the variables.
            api_url: the API's address when EVERLOOP_PUBLIC_URL names none.

        Raises:
            ValueError: a variable does not hold what it must; the message never quotes it.
        """
        url = env.get("EVERLOOP_WEBHOOK_URL")
        if not url:
            return None
        _check(url)
        return cls(
            url=url,
            secret=env.get("EVERLOOP_WEBHOOK_SECRET") or None,
            format=choice(env, "EVERLOOP_WEBHOOK_FORMAT", FORMATS) or cls.format,
            arguments=flag(env, "EVERLOOP_WEBHOOK_ARGUMENTS"),
            public_url=(env.get("EVERLOOP_PUBLIC_URL") or api_url).rstrip("/"),
        )

    @property
    def is_local(self) -> bool:
        """Whether the receiver is on this machine."""
        return is_loopback(urlsplit(self.url).hostname)


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("EVERLOOP_WEBHOOK_URL is no URL") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("EVERLOOP_WEBHOOK_URL is no URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("EVERLOOP_WEBHOOK_URL must hold no user or password")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError(
            "EVERLOOP_WEBHOOK_URL must begin with https://; http:// is for this machine's loopback"
        )


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
