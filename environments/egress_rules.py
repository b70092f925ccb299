"""Which hosts and addresses a sandbox may reach.

A name is allowed by the harness; an address only if it is public, or in a network that an operator
has opened. A name that leads to another address is refused however often it is listed, so that a
list cannot be turned against the host's own services.
"""

import ipaddress
from dataclasses import dataclass

from contracts.egress import Egress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Where clouds hand out credentials: link-local, and the addresses of Alibaba, Azure, Oracle and of
#: AWS's IPv6. Never reached, whatever an operator opens.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",
        "fd20:ce::/32",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
    )
)
#: All of IPv6 that is given out as global unicast.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Rules:
    """What one sandbox may reach.

    Attributes:
        egress: of its harness.
        ranges: networks that are not public and that listed hosts may lead to.
    """

    egress: Egress
    ranges: tuple[Network, ...] = ()

    def refuse_name(self, host: str, port: int) -> str | None:
        """Why a host and port may not be reached; None when they may, as far as names go."""
        if not self.egress.names(host):
            return f"the host {host} is not on this agent's allow-list"
        if port not in self.egress.ports:
            return f"port {port} is not on this agent's allow-list"
        return None

    def may_dial(self, address: Address) -> bool:
        """Whether an address that an allowed name leads to may be connected to."""
        plain = _embedded(address)
        if any(plain in network for network in _NEVER):
            return False
        if _is_public(plain):
            return True
        # An open list names nothing, so that nobody has meant a private service.
        listed = self.egress.mode == "allow"
        return listed and any(plain in network for network in self.ranges)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    # A scope belongs to a link and says nothing of where the address is.
    bare = ipaddress.IPv6Address(int(address))
    return bare.ipv4_mapped or bare.sixtofour or bare


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Networks of their texts, which have been checked."""
    return tuple(ipaddress.ip_network(text) for text in texts)
