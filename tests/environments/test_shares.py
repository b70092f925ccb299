"""File systems that sessions share, by access point, on each kind of environment."""

import json
from pathlib import Path

import pytest

from contracts.environment import EnvironmentSpec, SharedMount
from contracts.errors import EnvironmentUnavailable
from contracts.operator_map import OperatorMap
from environments.docker import Docker
from environments.kubernetes import ClusterOptions, Kubernetes
from environments.operator_resolver import Resolver
from environments.provider import EnvironmentProvider
from tests.environments.kinds import Make, thoroughly
from tests.environments.sandboxes import run

SHARE = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
READ = SHARE.replace("def0", "def1")
BOTH = EnvironmentSpec(shares=(SharedMount(SHARE, "/mnt/all"), SharedMount(READ, "/mnt/read")))


@thoroughly
async def test_shared_directories_are_shared_and_links_in_them_lead_nowhere(make: Make) -> None:
    (for_all, everything), (for_reading, given) = (
        make.shared("share"),
        make.shared("read", read_only=True),
    )
    provider = make(
        "data", operator=make.map_file(accessPoints={SHARE: for_all, READ: for_reading})
    )
    secret = make.path / "secret"
    secret.write_text("host")
    (everything / "planted").symlink_to(secret)
    (given / "given").write_text("given")
    references = [
        (await provider.start(name, BOTH, generation=1)).reference for name in ("one", "two")
    ]
    one, two = (provider.connect(reference) for reference in references)
    await run(one, "umask 0; echo hello > /mnt/all/note; ln -s /etc/shadow /mnt/all/shadow")
    assert (await run(two, "cat /mnt/all/note /mnt/read/given")).stdout == "hello\ngiven"
    assert (everything / "note").read_text() == "hello\n"
    for path in ("/mnt/all/planted", "/mnt/all/shadow", f"/mnt/all/../..{secret}"):
        assert (await run(two, f"cat {path} || ls {path}/")).exit_code != 0, path
        said = await two.file(f"v-{len(path)}", {"command": "view", "path": path})
        assert said.startswith("Error: "), path
    assert "Read-only file system" in (await run(two, "touch /mnt/read/x")).stderr
    assert not (given / "x").exists()
    await provider.stop_orphans(())
    await provider.close()


def _nowhere(kind: str, path: Path, resolver: Resolver) -> EnvironmentProvider:
    """A provider that would fail if it came so far as to ask its engine."""
    if kind == "docker":
        return Docker(path / "data", engine=f"unix://{path}/none", image="any", resolver=resolver)
    options = ClusterOptions(namespace="agents", image="any", kubeconfig=f"{path}/none")
    return Kubernetes("data", options, path / "data", resolver=resolver)


@pytest.mark.parametrize(
    ("kind", "mapped", "what"),
    [
        ("docker", {"claim": "reports"}, "a directory"),
        ("kubernetes", {"directory": "/srv"}, "a claim or an nfs export"),
        ("kubernetes", None, "anything"),
    ],
)
async def test_an_access_point_that_has_nothing_for_the_engine_gets_no_environment(
    kind: str, mapped: dict[str, str] | None, what: str, tmp_path: Path
) -> None:
    source = Make(kind, tmp_path).map_file(accessPoints={SHARE: mapped} if mapped else {})
    provider = _nowhere(kind, tmp_path, Resolver.of(source))
    spec = EnvironmentSpec(shares=(SharedMount(SHARE, "/mnt/x"),))
    with pytest.raises(EnvironmentUnavailable, match=f"is not mapped to {what} here"):
        await provider.start("s", spec, generation=1)
    await provider.close()


@pytest.mark.parametrize("path", ["/mnt", "/mnt/..", "/mnt/a:b", "/etc", "/mnt/session"])
async def test_nothing_is_mounted_where_it_may_not_be(path: str, make: Make) -> None:
    shared, _ = make.shared("share")
    provider = make("data", operator=make.map_file(accessPoints={SHARE: shared}))
    spec = EnvironmentSpec(shares=(SharedMount(SHARE, path),))
    with pytest.raises(EnvironmentUnavailable, match="must be /mnt/<name>|two file systems"):
        await provider.start("s", spec, generation=1)
    await provider.close()


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({}, "must have a directory"),
        ({"readOnly": True}, "must have a directory"),
        ({"claim": "Reports_1"}, "the name of a PersistentVolumeClaim"),
        ({"claim": "a", "nfs": {"server": "b", "path": "/c"}}, "not both"),
        ({"nfs": {"server": "b", "path": "c"}}, "an absolute path"),
        ({"nfs": {"server": "b/c", "path": "/c"}}, "a host's name or address"),
        ({"nfs": {"server": "b"}}, "Field required"),
        ({"directory": "/a", "claims": "b"}, "Extra inputs"),
    ],
)
def test_a_map_that_cannot_be_is_refused_with_the_member(
    files: dict[str, object], fault: str
) -> None:
    text = json.dumps({"accessPoints": {SHARE: files}})
    with pytest.raises(ValueError, match=rf"map\.json: accessPoints\..*{fault}"):
        OperatorMap.read(text, "map.json")
