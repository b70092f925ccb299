"""Which names and addresses may be reached, and how the head of a request is read."""

import ipaddress
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.egress import Egress
from contracts.environment import EnvironmentLimits
from contracts.sandbox_settings import SandboxSettings
from environments.egress_head import BadHead, read_head, write_head
from environments.egress_rules import Rules, networks

LISTED = Egress(mode="allow", hosts=("example.com", "*.example.org"))
EVERYTHING = ("0.0.0.0/0", "::/0")


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("example.com", True),
        ("a.example.com", False),
        ("example.com.evil.net", False),
        ("evilexample.com", False),
        ("example.org", False),
        ("a.example.org", True),
        ("a.b.example.org", True),
        (".example.org", False),
        ("evilexample.org", False),
    ],
)
def test_names_only_what_a_pattern_names(host: str, named: bool) -> None:
    assert (Rules(LISTED).refuse_name(host, 443) is None) is named


def test_only_listed_ports_are_reached() -> None:
    assert Rules(LISTED).refuse_name("example.com", 443) is None
    assert Rules(LISTED).refuse_name("example.com", 22) is not None
    wide = Egress(mode="open", ports=(22,))
    assert Rules(wide).refuse_name("anything.test", 22) is None
    assert Rules(Egress()).refuse_name("example.com", 443) is not None


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "240.0.0.1",
    "198.18.0.1",
    "::1",
    "::",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "fec0::1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
]


@pytest.mark.parametrize("text", PRIVATE + METADATA)
def test_an_address_that_is_not_public_is_never_dialled(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not Rules(LISTED).may_dial(address)
    assert not Rules(Egress(mode="open"), networks(EVERYTHING)).may_dial(address)


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_a_public_address_is_dialled(text: str) -> None:
    assert Rules(LISTED).may_dial(ipaddress.ip_address(text))


def test_an_operator_opens_networks_for_listed_hosts_but_never_metadata() -> None:
    opened = Rules(LISTED, networks(("10.1.0.0/16",)))
    assert opened.may_dial(ipaddress.ip_address("10.1.2.3"))
    assert opened.may_dial(ipaddress.ip_address("::ffff:10.1.2.3"))
    assert not opened.may_dial(ipaddress.ip_address("10.2.2.3"))
    for text in METADATA:
        assert not Rules(LISTED, networks(EVERYTHING)).may_dial(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "members",
    [
        {"mode": "allow"},
        {"mode": "none", "hosts": ["a.com"]},
        {"mode": "allow", "hosts": ["https://a.com"]},
        {"mode": "allow", "hosts": ["*"]},
        {"mode": "allow", "hosts": ["a.*.com"]},
        {"mode": "allow", "hosts": ["A.com"]},
        {"mode": "allow", "hosts": ["a.com"], "ports": []},
        {"mode": "allow", "hosts": ["a.com"], "ports": [0]},
        {"mode": "open", "surprise": 1},
        *(
            {
                "mode": "allow",
                "hosts": ["a.com"],
                "credentials": [
                    {
                        "host": "a.com",
                        "header": "x-key",
                        "apiKeyArn": "arn:aws:bedrock-agentcore:us-east-1:000000000000"
                        ":token-vault/default/apikeycredentialprovider/k",
                        **change,
                    }
                ],
            }
            for change in (
                {"host": "b.com"},
                {"host": "*.a.com"},
                {"header": "Host"},
                {"header": "x\r\ny"},
                {"apiKeyArn": "k"},
                {"prefix": "a\nb"},
            )
        ),
    ],
    ids=str,
)
def test_a_list_that_means_nothing_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Egress.model_validate(members)


def test_a_head_is_written_anew_for_the_server() -> None:
    head = read_head(
        b"POST http://Example.COM:8080/a?b=c#d HTTP/1.1\r\nHost: inner.test\r\nX-Key: theirs\r\n"
        b"Proxy-Authorization: Basic x\r\nConnection: x-drop, content-length\r\nX-Drop: 1\r\n"
        b"Content-Length: 3\r\n\r\n"
    )
    assert (head.host, head.port, head.body_bytes) == ("example.com", 8080, 3)
    assert write_head(head, [("x-key", "ours")]) == (
        b"POST /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nContent-Length: 3\r\nx-key: ours\r\n"
        b"Connection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1",
        b"GET https://a.com/ HTTP/1.1",
        b"GET http://u:p@a.com/ HTTP/1.1",
        b"GET http://a.com\\@b.com/ HTTP/1.1",
        b"GET http://a.com:0/ HTTP/1.1",
        b"GET http://a.com:99999/ HTTP/1.1",
        b"GET http://a.com/ HTTP/1.1\nHost: b.com",
        b"GET http://a.com/ HTTP/1.1\r\nA : b",
        b"GET http://a.com/ HTTP/1.1\r\nA: b\rc",
        b"GET http://a.com/ HTTP/1.1\r\n folded: b",
        b"GET http://a.com/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
        b"GET http://a.com/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"GET http://a.com/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
        b"GET http://a.com/ HTTP/1.1\r\nContent-Length: +1",
        b"CONNECT a.com HTTP/1.1",
        b"CONNECT a.com:443/x HTTP/1.1",
        b"CONNECT :443 HTTP/1.1",
        b"\x00\xff",
    ],
)
def test_a_head_that_two_servers_may_read_differently_is_refused(head: bytes) -> None:
    with pytest.raises(BadHead):
        read_head(head + b"\r\n\r\n")


def test_settings_of_sandboxes_are_read_from_variables() -> None:
    read = SandboxSettings.from_env(
        {
            "EVERLOOP_SANDBOX_MEMORY_MIB": "512",
            "EVERLOOP_SANDBOX_CGROUPS": "off",
            "EVERLOOP_VOLUME_DAYS": "0",
            "EVERLOOP_EGRESS_PRIVATE_RANGES": "10.1.0.0/16, fd12::/32",
        }
    )
    assert read.limits == EnvironmentLimits(memory_bytes=512 * 1024**2)
    assert (read.cgroups, read.volume_days) == (False, 0)
    assert read.private_ranges == ("10.1.0.0/16", "fd12::/32")
    assert SandboxSettings.from_env({}) == SandboxSettings()
    for name, text in (
        ("EVERLOOP_SANDBOX_PROCESSES", "many"),
        ("EVERLOOP_SANDBOX_DISK_MIB", "1"),
        ("EVERLOOP_SANDBOX_CGROUPS", "on"),
        ("EVERLOOP_EGRESS_PRIVATE_RANGES", "10.1.0.1/16"),
    ):
        with pytest.raises(ValueError, match=name):
            SandboxSettings.from_env({name: text})
