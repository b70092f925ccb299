"""The way out: from inside an environment of each kind, through the proxy, to a server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.egress import Egress, EgressCredential
from contracts.environment import EnvironmentSpec
from contracts.errors import SecretUnreadable
from contracts.sandbox_settings import SandboxSettings
from environments import egress, egress_pump
from environments.channel import AgentChannel
from environments.egress import EgressProxy
from environments.egress_rules import Rules, networks
from environments.host import SandboxHost
from environments.provider import EnvironmentProvider
from store import Store
from tests.environments.kinds import Make, thoroughly
from tests.environments.sandboxes import run, until
from tests.environments.upstream import Certificate, Upstream, certificate, upstream

ARN = (
    "arn:aws:bedrock-agentcore:us-east-1:000000000000"
    ":token-vault/default/apikeycredentialprovider/k"
)
SECRET = "never-seen-inside"
LOOPBACK = ("127.0.0.0/8",)
FETCH = """python3 - <<'END'
import urllib.request, urllib.error
for url in {urls!r}:
    try:
        print(urllib.request.urlopen(url, timeout=10).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
    except OSError as error:
        print("failed", error)
END"""


class Names:
    """The proxy's resolver: each name gives its addresses in turn, the last for ever."""

    def __init__(self) -> None:
        self.leads_to: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self.leads_to.get(host, [["127.0.0.1"]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"), "api.test")


async def _reveal(arn: str) -> str:
    if arn != ARN:
        raise SecretUnreadable(arn)
    return SECRET


@pytest.fixture
async def proxy(names: Names, shown: Certificate) -> AsyncIterator[EgressProxy]:
    made = EgressProxy(_reveal, resolve=names, tls=shown.client)
    yield made
    await made.close_all()


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as kept:
        yield kept


SETTINGS = SandboxSettings(private_ranges=LOOPBACK)


@pytest.fixture
async def provider(make: Make, proxy: EgressProxy) -> AsyncIterator[EnvironmentProvider]:
    made = make("data", settings=SETTINGS, proxy=proxy)
    yield made
    await made.stop_orphans(())
    await made.close()


def allow(*hosts: str, ports: tuple[int, ...], **more: object) -> Egress:
    return Egress.model_validate({"mode": "allow", "hosts": hosts, "ports": ports, **more})


async def _ask(path: Path, text: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(text.encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_command_reaches_what_is_listed_and_nothing_else(
    provider: EnvironmentProvider,
    server: Upstream,
    names: Names,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "environments.egress")
    # Listed, and leading where nobody may go; the last at its second look only.
    names.leads_to = {
        "inside.test": [["10.0.0.1", "::ffff:10.0.0.1"]],
        "metadata.test": [["169.254.169.254"]],
        "moves.test": [["127.0.0.1"], ["169.254.169.254"]],
    }
    hosts = ("api.test", "inside.test", "metadata.test", "moves.test")
    spec = EnvironmentSpec(egress=allow(*hosts, ports=(server.port,)))
    started = await provider.start("s", spec, generation=1)
    sandbox = provider.connect(started.reference)

    def at(host: str, port: int = server.port) -> str:
        return f"http://{host}:{port}/secret-path"

    urls = [at("api.test"), at("other.test"), at("api.test", 1), "http://169.254.169.254/latest"]
    urls += [at("inside.test"), at("metadata.test"), at("moves.test"), at("moves.test")]
    said = (await run(sandbox, FETCH.format(urls=urls))).stdout.splitlines()
    assert said[0] == said[6] == "upstream got "
    assert said[1].startswith("403 Everloop egress: the host other.test")
    assert said[2].startswith("403 Everloop egress: port 1 ")
    assert "not on this agent's allow-list" in said[3]
    for line in (said[4], said[5], said[7]):
        assert "leads to an address that is not public" in line
    direct = await run(sandbox, FETCH.format(urls=[at("127.0.0.1")]), variables={"no_proxy": "*"})
    assert "Connection refused" in direct.stdout
    assert len(server.requests) == 2
    decisions = [record.message for record in caplog.records if "egress" in record.message]
    assert [line.partition(" ")[2].partition(" ")[2] for line in decisions] == [
        f"api.test:{server.port} allowed",
        f"other.test:{server.port} refused: not listed",
        "api.test:1 refused: not listed",
        "169.254.169.254:80 refused: not listed",
        f"inside.test:{server.port} refused: address",
        f"metadata.test:{server.port} refused: address",
        f"moves.test:{server.port} allowed",
        f"moves.test:{server.port} refused: address",
    ]
    assert "secret-path" not in caplog.text


@thoroughly
async def test_tunnels_carry_both_directions_and_large_bodies(
    provider: EnvironmentProvider, server: Upstream
) -> None:
    spec = EnvironmentSpec(egress=allow("api.test", ports=(server.port,)))
    started = await provider.start("s", spec, generation=1)
    body, at_once = 3_000_000, 12
    said = await run(
        provider.connect(started.reference),
        rf"""python3 - <<'END'
import hashlib, http.client, socket, threading
said = []
def ask(number):
    connection = http.client.HTTPConnection("127.0.0.1", 3128, timeout=20)
    connection.set_tunnel("api.test", {server.port})
    data = bytes([65 + number]) * ({body} if number < 2 else 1000 * number)
    connection.request("POST", "/", data)
    said.append(connection.getresponse().read() == b"upstream got " + data)
# One that reads nothing holds up nobody else.
slow = socket.create_connection(("127.0.0.1", 3128))
slow.sendall(b"CONNECT api.test:{server.port} HTTP/1.1\r\n\r\n")
slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: {body}\r\n\r\n" + bytes({body}))
threads = [threading.Thread(target=ask, args=(number,)) for number in range({at_once})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(said == [True] * {at_once})
# What the other side says after this one has ended still comes.
late = socket.create_connection(("127.0.0.1", 3128))
late.sendall(b"CONNECT api.test:{server.port} HTTP/1.1\r\n\r\n")
late.sendall(b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
late.shutdown(socket.SHUT_WR)
print(late.makefile("rb").read().endswith(b"upstream got hi"))
print(len(slow.makefile("rb").read()) > {body})
END""",
    )
    assert said.stdout == "True\nTrue\nTrue\n", said.stderr


@thoroughly
async def test_a_secret_is_added_outside_and_its_server_checked(
    provider: EnvironmentProvider,
    shown: Certificate,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with upstream(shown.server) as server:
        monkeypatch.setattr(egress, "TLS_PORT", server.port)
        credential = EgressCredential(
            host="api.test", header="authorization", api_key_arn=ARN, prefix="Bearer "
        )
        wrong = EgressCredential(host="other.test", header="x-key", api_key_arn=ARN)
        lost = EgressCredential(host="lost.test", header="x-key", api_key_arn=f"{ARN}2")
        spec = EnvironmentSpec(
            egress=allow("*.test", ports=(80, server.port), credentials=(credential, wrong, lost))
        )
        started = await provider.start("s", spec, generation=1)
        sandbox = provider.connect(started.reference)

        async def fetch(host: str) -> str:
            command = (
                FETCH.format(urls=[f"http://{host}/v1"])
                .replace("urlopen(", "urlopen(urllib.request.Request(")
                .replace(", timeout", ", headers={'Authorization': 'mine'}), timeout")
            )
            return (await run(sandbox, command)).stdout

        assert "upstream got" in await fetch("api.test")
        # A server that is not who it should be is told nothing.
        assert "502" in await fetch("other.test")
        seen = await run(sandbox, "env; cat /proc/*/environ /proc/*/cmdline; ls -R /run")
    assert len(server.requests) == 1
    head = server.requests[0].decode().lower()
    assert head.count("authorization:") == 1 and f"authorization: bearer {SECRET}" in head
    assert SECRET not in seen.stdout


async def test_a_secret_that_cannot_be_had_sends_nothing(
    tmp_path: Path, shown: Certificate, proxy: EgressProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with upstream(shown.server) as server:
        monkeypatch.setattr(egress, "TLS_PORT", server.port)
        lost = EgressCredential(host="api.test", header="x-key", api_key_arn=f"{ARN}2")
        rules = Rules(
            allow("api.test", ports=(80, server.port), credentials=(lost,)), networks(LOOPBACK)
        )
        await proxy.open("s", tmp_path / "s", rules)
        answer = await _ask(tmp_path / "s", "GET http://api.test/ HTTP/1.1\r\n\r\n")
        assert b"502 Bad Gateway" in answer and server.requests == []


async def test_the_address_that_was_checked_is_the_one_dialled(
    tmp_path: Path, names: Names, proxy: EgressProxy, server: Upstream
) -> None:
    """DNS rebinding: a name that passes the check must not be asked again."""
    names.leads_to["api.test"] = [["127.0.0.1"], ["127.9.9.9"]]
    rules = Rules(allow("api.test", ports=(server.port,)), networks(("127.0.0.1/32",)))
    await proxy.open("s", tmp_path / "s", rules)
    request = f"GET http://api.test:{server.port}/ HTTP/1.1\r\n\r\n"
    assert b"200 OK" in await _ask(tmp_path / "s", request)
    assert names.asked == ["api.test"]
    assert b"403" in await _ask(tmp_path / "s", request)


async def test_a_listed_name_that_leads_inside_is_refused(
    tmp_path: Path, names: Names, proxy: EgressProxy, server: Upstream
) -> None:
    listed = allow("api.test", "127.0.0.1", "0x7f.1", "169.254.169.254", ports=(server.port, 80))
    await proxy.open("s", tmp_path / "s", Rules(listed))
    names.leads_to = {
        "api.test": [["127.0.0.1", "::1", "::ffff:127.0.0.1"]],
        "0x7f.1": [["127.0.0.1"]],
        "169.254.169.254": [["169.254.169.254"]],
    }
    for target in (
        f"GET http://api.test:{server.port}/",
        f"GET http://127.0.0.1:{server.port}/",
        f"GET http://0x7f.1:{server.port}/",
        f"CONNECT api.test:{server.port}",
        "GET http://169.254.169.254/latest/meta-data/",
    ):
        answer = await _ask(tmp_path / "s", f"{target} HTTP/1.1\r\n\r\n")
        assert b"403 Forbidden" in answer and b"not public" in answer, target
    assert server.requests == []


async def test_connections_are_bounded(
    tmp_path: Path, proxy: EgressProxy, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(egress, "HEAD_S", 0.2)
    rules = Rules(allow("api.test", ports=(server.port,)), networks(LOOPBACK))
    await proxy.open("s", tmp_path / "s", rules)
    held = [await asyncio.open_unix_connection(tmp_path / "s") for _ in range(2)]
    request = f"GET http://api.test:{server.port}/ HTTP/1.1\r\n\r\n"
    assert b"503" in await _ask(tmp_path / "s", request)
    # Those that say nothing are cut.
    assert [await reader.read() for reader, _ in held] == [b"", b""]
    assert b"200 OK" in await _ask(tmp_path / "s", request)
    monkeypatch.setattr(egress_pump, "BYTES_MAX", 10)
    cut = await _ask(tmp_path / "s", request)
    assert b"upstream" not in cut
    oversized = f"GET http://api.test:{server.port}/ HTTP/1.1\r\nA: {'x' * egress.HEAD_BYTES}"
    assert b"431" in await _ask(tmp_path / "s", oversized)
    for _, writer in held:
        writer.close()


@thoroughly
async def test_the_way_out_cannot_be_replaced_from_inside(provider: EnvironmentProvider) -> None:
    spec = EnvironmentSpec(egress=Egress(mode="open"))
    started = await provider.start("s", spec, generation=1)
    sandbox = provider.connect(started.reference)
    place = "/run/everloop-proxy" if provider.name != "kubernetes" else "/run"
    for command in (f"rm {place}/s", f"ln -sf /tmp/x {place}/s", f"touch {place}/y"):
        said = await run(sandbox, command)
        assert said.exit_code != 0 or "-f" in command, command
    # Whoever asks agentd for the stream of connections gets them; commands cannot.
    said = await run(
        sandbox,
        "python3 -c 'import socket; socket.socket(1).connect(\"/run/everloop/s\")'",
    )
    assert "Permission denied" in said.stderr or "No such file" in said.stderr
    await provider.stop(started.reference)

    started = await provider.start("s", EnvironmentSpec(egress=Egress()), generation=2)
    sandbox = provider.connect(started.reference)
    said = await run(
        sandbox, "ls /run/everloop-proxy; env | grep -i proxy; cat /proc/net/tcp | wc -l"
    )
    assert said.stdout == "1\n"


@thoroughly
async def test_a_new_host_process_takes_the_way_out_up_again(
    make: Make,
    provider: EnvironmentProvider,
    store: Store,
    proxy: EgressProxy,
    server: Upstream,
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    spec = EnvironmentSpec(egress=allow("api.test", ports=(server.port,)))
    fetch = FETCH.format(urls=[f"http://api.test:{server.port}/"])

    async def say(agent: AgentChannel) -> str:
        return (await run(agent, fetch)).stdout

    async with (
        SandboxHost(store, data_dir=data, host_id="here", provider=provider) as host,
        host.use("s", spec) as environment,
    ):
        reference = environment.record.reference
        assert await say(provider.connect(reference)) == "upstream got \n"
    await proxy.close_all()
    assert "failed" in await say(provider.connect(reference))
    again = make("data", settings=SETTINGS, proxy=EgressProxy(_reveal, resolve=Names()))

    async def reached() -> bool:
        return await say(again.connect(reference)) == "upstream got \n"

    async with SandboxHost(store, data_dir=data, host_id="here", provider=again) as host:
        async with host.use("s", spec) as environment:
            assert not environment.restarted
            await until(reached)
        narrower = EnvironmentSpec(egress=allow("other.test", ports=(server.port,)))
        async with host.use("s", narrower) as environment:
            # Another list makes another environment, so that nothing of the old one stays open.
            assert environment.restarted
            assert "403" in await say(again.connect(environment.record.reference))
        await host.stop("s")
