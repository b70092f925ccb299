"""What an agent's commands may reach of the network: a member of a harness's extensions.

AWS has no such member: there, PUBLIC is the whole internet. Here nothing is reached unless a
harness says so.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from contracts.base import WireValue
from contracts.vault import API_KEY_PROVIDER_ARN

#: One name is compared with each of them.
MAX_HOSTS = 200
MAX_PORTS = 32
MAX_CREDENTIALS = 32

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
#: A name, `*.` and a name, or an IPv4 address, which has the form of a name.
HOST_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
#: RFC 9110's token.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: Headers that say where a request goes or where its body ends.
FRAMING_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

Port = Annotated[int, Field(ge=1, le=65535)]


def matches(pattern: str, host: str) -> bool:
    """Whether a host, in lower case and without a dot at its end, is one that a pattern names.

    `*.example.com` names every host below example.com, and not example.com itself.
    """
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


class EgressCredential(WireValue):
    """A header that the proxy adds to requests for `http://host`, which it sends on over TLS.

    Attributes:
        host: exactly this host.
        header: the header's name.
        api_key_arn: names the credential provider of the vault that has the value.
        prefix: stands before the value, as `Bearer `.
    """

    host: str
    header: str
    api_key_arn: str
    prefix: Annotated[str, StringConstraints(max_length=100, pattern=r"^[\x21-\x7e ]*$")] = ""

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        if host.startswith("*.") or not HOST_PATTERN.fullmatch(host):
            raise ValueError("must be one host in lower case, as api.example.com")
        return host

    @field_validator("header")
    @classmethod
    def _check_header(cls, header: str) -> str:
        if not _HEADER.fullmatch(header) or header.lower() in FRAMING_HEADERS:
            raise ValueError("must be the name of a header that does not frame the request")
        return header

    @field_validator("api_key_arn")
    @classmethod
    def _check_arn(cls, arn: str) -> str:
        if not API_KEY_PROVIDER_ARN.fullmatch(arn):
            raise ValueError("must be the ARN of an API-key credential provider")
        return arn


class Egress(WireValue):
    """What of the network commands may reach.

    Attributes:
        mode: `none`; `allow` the listed hosts; `open` for every public address.
        hosts: patterns `example.com`, `*.example.com`, for mode `allow`.
        ports: at all hosts.
        credentials: headers that the proxy adds.
    """

    mode: Literal["none", "allow", "open"] = "none"
    hosts: tuple[str, ...] = Field(default=(), max_length=MAX_HOSTS)
    ports: tuple[Port, ...] = Field(default=(80, 443), min_length=1, max_length=MAX_PORTS)
    credentials: tuple[EgressCredential, ...] = Field(default=(), max_length=MAX_CREDENTIALS)

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if len(host) > 253 or not HOST_PATTERN.fullmatch(host):
                raise ValueError(
                    f"{host[:80]!r} must be a host in lower case, as example.com or *.example.com"
                )
        return hosts

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.mode == "allow") != bool(self.hosts):
            raise ValueError("hosts must be given with mode allow, and only with it")
        for credential in self.credentials:
            if not self.names(credential.host):
                raise ValueError(f"credentials: {credential.host} is not a host that is allowed")
        pairs = [(one.host, one.header.lower()) for one in self.credentials]
        if len(set(pairs)) < len(pairs):
            raise ValueError("credentials: a host may have each header once")
        return self

    def names(self, host: str) -> bool:
        """Whether a host may be reached, as far as its name goes."""
        if self.mode == "allow":
            return any(matches(pattern, host) for pattern in self.hosts)
        return self.mode == "open"
