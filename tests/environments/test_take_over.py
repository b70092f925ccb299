"""Two sandbox hosts, each with a data directory and a network, one database: when one dies."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.environment import EnvironmentState, HostVolumes
from contracts.errors import EnvironmentGone, EnvironmentUnavailable, StaleAttempt
from contracts.ids import session_key
from contracts.settings import Settings
from environments import lease
from environments.bubblewrap import Bubblewrap
from environments.host import SandboxHost
from environments.kubernetes import ClusterOptions, Kubernetes
from environments.processes import start_time
from environments.provider import Liveness
from environments.session_volume import Content
from environments.shared_volumes import ID_FILE, host_volumes, volumes_of
from store import Store
from tests.environments import engine as engines
from tests.environments.cluster import cluster
from tests.environments.sandboxes import SPEC, run, until

#: The hosts reach nothing of each other but the database and the volumes.
ANOTHER_NETWORK = ("unshare", "--net") if os.geteuid() == 0 else ()
SESSION = session_key("000000000000", "h-0123456789", "s" * 33)

#: A host with a short lease that runs one command and then waits to be killed.
HOST_PROCESS = """
import asyncio, pathlib, sys
from contracts.environment import EnvironmentSpec, HostVolumes
from environments import host as host_module
from environments.bubblewrap import Bubblewrap
from environments.host import SandboxHost
from environments.kubernetes import ClusterOptions, Kubernetes
from store import Store

url, data, volumes, shared, session, image, namespace, kubeconfig = sys.argv[1:]
# A cluster is asked what runs before the first beat.
host_module.LEASE_S, host_module.BEAT_S = 5.0 if kubeconfig else 1.0, 0.2

async def main():
    store = await Store.open(url)
    provider = Bubblewrap(pathlib.Path(data), volumes_dir=pathlib.Path(volumes))
    if kubeconfig:
        options = ClusterOptions(namespace, image, kubeconfig=kubeconfig)
        provider = Kubernetes("first", options, pathlib.Path(data))
    host = SandboxHost(store, data_dir=pathlib.Path(data), host_id="first", provider=provider,
                       shares=HostVolumes(shared or None))
    async with host:
        assert await store.environments.assign(session, "first") == "first"
        async with host.use(session, EnvironmentSpec()) as environment:
            call = asyncio.create_task(environment.exec(
                "effect", "echo once >> effects; sleep 60",
                timeout_s=60, output_bytes=1000, variables={}))
            while not (await provider.connect(environment.record.reference).info()).running:
                await asyncio.sleep(0.01)
            print(environment.record.reference.get("pid", 0), flush=True)
            await call

asyncio.run(main())
"""


@pytest.fixture
async def session(store: Store) -> str:
    await store.hosts.begin_session(
        SESSION, account="000000000000", harness_id="h-0123456789", runtime_session_id="s" * 33
    )
    return SESSION


@pytest.fixture
async def hosts(store: Store, tmp_path: Path) -> AsyncIterator["Hosts"]:
    made = Hosts(store, tmp_path)
    yield made
    for provider in made.providers:
        await provider.stop_orphans(())


class Hosts:
    """Sandbox hosts of this machine that think they are on machines of their own."""

    def __init__(self, store: Store, tmp_path: Path) -> None:
        self.store = store
        self.tmp_path = tmp_path
        # A directory of a file system that machines share, as NFS, to run these tests there.
        shared = os.environ.get("EVERLOOP_TEST_SHARED")
        self.volumes = Path(tempfile.mkdtemp(dir=shared)) if shared else tmp_path / "volumes"
        self.volumes.mkdir(exist_ok=True)
        self.providers: list[Bubblewrap] = []

    def make(self, name: str, shares: HostVolumes | None = None) -> SandboxHost:
        data = self.tmp_path / name
        shares = shares or self.shares(name)
        volumes = self.volumes if shares.id is not None else None
        provider = Bubblewrap(data, volumes_dir=volumes)
        self.providers.append(provider)
        return SandboxHost(
            self.store, data_dir=data, host_id=name, provider=provider, shares=shares, look_s=0.05
        )

    def shares(self, name: str) -> HostVolumes:
        return host_volumes(Settings("", self.tmp_path / name, volumes_dir=self.volumes))

    async def first_dies(self, database_url: str, *, shared: bool) -> int:
        """Run the first host, kill it in the midst of a command; the pid of its sandbox."""
        volumes = self.volumes if shared else self.tmp_path / "first" / "volumes"
        shared_id = self.shares("first").id if shared else ""
        words = (database_url, str(self.tmp_path / "first"), str(volumes), shared_id or "", SESSION)
        return await self.dies_in_a_command((*words, "", "", ""), volumes, ANOTHER_NETWORK)

    async def dies_in_a_command(
        self, words: tuple[str, ...], volumes: Path, network: tuple[str, ...] = ()
    ) -> int:
        """Run HOST_PROCESS until its command has had its effect in a volume, and kill it."""
        process = await asyncio.create_subprocess_exec(
            *(*network, sys.executable, "-c", HOST_PROCESS, *words),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        pid = int(await process.stdout.readline())

        async def effect() -> bool:
            return any(volumes.glob("*/effects"))

        await until(effect)
        process.kill()
        await process.wait()

        async def dead() -> bool:
            return "first" not in await self.store.environments.alive()

        await until(dead)
        return pid


async def test_another_host_with_the_same_volumes_goes_on(
    hosts: Hosts, store: Store, session: str, database_url: str
) -> None:
    async with hosts.make("second") as second:
        sandbox = await hosts.first_dies(database_url, shared=True)
        assert start_time(sandbox) is not None
        assert await store.environments.assign(session, None) == "second"
        async with second.use(session, SPEC) as environment:
            assert environment.restarted and environment.files_lost_with is None
            assert environment.record.generation == 3
            assert (await run(environment, "cat effects")).stdout == "once\n"
        async with second.use(session, SPEC) as environment:
            assert not environment.restarted
            # The first comes back: before anything else it ends what another has taken over.
            async with hosts.make("first") as first:
                assert start_time(sandbox) is None
                assert await store.environments.assign(session, "first") == "second"
                with pytest.raises(StaleAttempt, match="second"):
                    async with first.use(session, SPEC):
                        pass
            assert (await run(environment, "cat effects")).stdout == "once\n"
    record = await store.environments.get(session)
    assert record is not None and (record.host, record.generation) == ("second", 3)


async def test_another_host_of_the_same_cluster_goes_on(
    engine: engines.Engine, hosts: Hosts, store: Store, session: str, database_url: str
) -> None:
    async with cluster(engine, hosts.tmp_path / "cluster", sandboxes=False) as running:

        def provider_of(name: str) -> Kubernetes:
            options = ClusterOptions(
                namespace=running.namespace, image=engines.IMAGE, kubeconfig=running.kubeconfig
            )
            return Kubernetes(name, options, hosts.tmp_path / name)

        async def host_of(name: str) -> SandboxHost:
            provider, data = provider_of(name), hosts.tmp_path / name
            shares = await volumes_of(Settings("", data, engine="kubernetes"), provider)
            return SandboxHost(
                store, data_dir=data, host_id=name, provider=provider, shares=shares, look_s=0.05
            )

        async with await host_of("second") as second:
            shared_id = running.kept["configmaps"]["everloop-volumes"]["data"]["id"]
            words = (database_url, str(hosts.tmp_path / "first"), str(hosts.volumes))
            words = (*words, shared_id, SESSION, engines.IMAGE)
            words = (*words, running.namespace, running.kubeconfig)
            await hosts.dies_in_a_command(words, running.directory)
            (before,) = running.kept["pods"]
            assert await store.environments.assign(session, None) == "second"
            # What the dead host left is good for looking at files, and ends before another starts.
            async with second.volume(session, SPEC.mount).look("effects", "") as found:
                assert isinstance(found, Content) and found.size == len("once\n")
            async with second.use(session, SPEC) as environment:
                assert environment.restarted and environment.record.generation == 3
                (after,) = running.kept["pods"]
                assert before != after
                assert (await run(environment, "cat effects; pgrep sleep")).stdout == "once\n"
                async with await host_of("first") as first:
                    assert list(running.kept["pods"]) == [after]
                    with pytest.raises(StaleAttempt, match="second"):
                        async with first.use(session, SPEC):
                            pass
                assert (await run(environment, "cat effects")).stdout == "once\n"
            await second.delete(session)
            assert not running.kept["pods"] and not running.kept["persistentvolumeclaims"]


async def test_without_shared_volumes_a_session_waits_for_its_host(
    hosts: Hosts, store: Store, session: str, database_url: str
) -> None:
    own = HostVolumes()
    async with hosts.make("second", own) as second:
        await hosts.first_dies(database_url, shared=False)
        assert await store.environments.assign(session, "second") == "first"
        with pytest.raises(EnvironmentUnavailable, match="'first', which does not run"):
            async with second.use(session, SPEC):
                pass
        assert not (hosts.tmp_path / "second" / "volumes").exists()
        async with hosts.make("first", own) as first, first.use(session, SPEC) as environment:
            assert not environment.restarted
            assert (await run(environment, "cat effects")).stdout == "once\n"


async def test_files_are_left_behind_only_where_an_operator_says_so(
    hosts: Hosts, store: Store, session: str, database_url: str
) -> None:
    async with hosts.make("second", HostVolumes(may_lose_files=True)) as second:
        await hosts.first_dies(database_url, shared=False)
        assert await store.environments.host_of(session) == "first", "deletion goes where files are"
        assert await store.environments.assign(session, None) == "second"
        record = await store.environments.get(session)
        assert record is not None and record.state is EnvironmentState.FILES_LOST
        async with second.use(session, SPEC) as environment:
            assert environment.files_lost_with == "first"
            assert (await run(environment, "ls")).stdout == ""
        async with second.use(session, SPEC) as environment:
            assert environment.files_lost_with is None
        left = hosts.tmp_path / "first" / "volumes"
        assert len(list(left.iterdir())) == 1
        async with hosts.make("first", HostVolumes()):
            assert list(left.iterdir()) == []
        assert await store.environments.left_volumes("first") == ()


async def test_a_host_that_slept_through_its_lease_ends_what_was_taken_over(
    hosts: Hosts, store: Store, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosts.make("first") as first, hosts.make("second") as second:
        await store.environments.assign(session, "first")
        async with first.use(session, SPEC) as stale:
            await run(stale, "echo kept > f")
            # As if nobody had run on the first machine for a while.
            real = lease.boot_clock
            monkeypatch.setattr(lease, "boot_clock", lambda: real() + 3600)
            await store.environments.beat("first", lease_s=-1)
            assert await store.environments.assign(session, None) == "second"
            async with second.use(session, SPEC) as environment:
                assert (await run(environment, "cat f")).stdout == "kept\n"
            with pytest.raises(StaleAttempt):
                async with first.use(session, SPEC):
                    pass
            provider = hosts.providers[0]
            assert await provider.status(stale.record.reference) is Liveness.GONE
            with pytest.raises(EnvironmentGone):
                await run(stale, "echo late >> f")
        async with second.use(session, SPEC) as environment:
            assert (await run(environment, "cat f")).stdout == "kept\n"


async def test_a_host_that_cannot_renew_its_lease_ends_what_it_shares(
    hosts: Hosts, store: Store, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(host: str, *, lease_s: float) -> None:
        raise ConnectionError("the database is away")

    monkeypatch.setattr("environments.host.BEAT_S", 0.05)
    monkeypatch.setattr("environments.host.LEASE_S", 0.5)
    async with hosts.make("first") as first:
        await store.environments.assign(session, "first")
        async with first.use(session, SPEC) as environment:
            reference = environment.record.reference
        monkeypatch.setattr(store.environments, "beat", fails)

        async def gone() -> bool:
            return await hosts.providers[0].status(reference) is Liveness.GONE

        await until(gone)


async def test_a_shared_directory_has_one_id_whoever_comes_first(tmp_path: Path) -> None:
    def settings(name: str) -> Settings:
        return Settings("", tmp_path / "data", volumes_dir=tmp_path / name)

    with pytest.raises(EnvironmentUnavailable, match="is not a directory"):
        host_volumes(settings("missing"))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ids = await asyncio.gather(*(asyncio.to_thread(host_volumes, settings("a")) for _ in range(8)))
    assert len(set(ids)) == 1 and ids[0] != host_volumes(settings("b"))
    assert os.listdir(tmp_path / "a") == [ID_FILE]
    (tmp_path / "a" / ID_FILE).write_text("not an id")
    with pytest.raises(EnvironmentUnavailable, match="an id"):
        host_volumes(settings("a"))
    assert host_volumes(Settings("", tmp_path / "data")).id is None


@pytest.mark.parametrize(
    ("env", "match"),
    [
        ({}, "EVERLOOP_HOST_ID"),
        ({"EVERLOOP_HOST_ID": "a", "EVERLOOP_VOLUME_IMAGES": "1"}, "EVERLOOP_VOLUME_IMAGES"),
    ],
)
def test_what_cannot_be_shared_is_refused(env: dict[str, str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Settings.from_env({"EVERLOOP_VOLUMES_DIR": "/srv/volumes", **env})
