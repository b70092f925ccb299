"""Dropping a session's environment: gone with its files, once or twice, and not started again."""

from pathlib import Path

import pytest

from contracts.environment import EnvironmentSpec
from contracts.errors import EnvironmentUnavailable
from contracts.harness import HarnessConfig
from contracts.ids import session_key
from contracts.turn import DropEnvironment
from environments.host import SandboxHost
from store import Store
from tests.activities.tools.conftest import SESSION, Calls
from tests.provisioned import settle
from tests.store.play import Play

ACCOUNT = "000000000000"


async def test_files_processes_and_record_go_and_again_is_no_matter(
    calls: Calls, store: Store, tmp_path: Path
) -> None:
    await calls.do("shell", command="echo kept > file; sleep 300 &")
    record = await store.environments.get(SESSION)
    assert record is not None
    process = Path(f"/proc/{record.reference['pid']}")
    assert process.exists() and list((tmp_path / "data" / "volumes").glob("*/file"))
    for _ in range(2):
        await calls.activity().run(calls.tools.drop_environment, DropEnvironment(SESSION))
        assert await store.environments.get(SESSION) is None
        assert not process.exists()
        assert list((tmp_path / "data" / "volumes").iterdir()) == []


async def test_a_session_of_a_harness_that_goes_gets_no_environment(
    store: Store, host: SandboxHost
) -> None:
    made = await store.harnesses.create(
        ACCOUNT,
        "agent",
        HarnessConfig(execution_role_arn="arn:aws:iam::000000000000:role/any"),
        client_token=None,
        params_digest="d",
    )
    await settle(store, made.operation)
    play = await Play.begin(store, made.harness_id)
    await play.open("i1")
    async with host.use(play.session, EnvironmentSpec()):
        pass
    await store.harnesses.delete(ACCOUNT, made.harness_id, client_token=None, params_digest="d")
    await host.delete(play.session)
    with pytest.raises(EnvironmentUnavailable, match="deleted"):
        async with host.use(play.session, EnvironmentSpec()):
            pass
    assert await store.environments.get(play.session) is None
    other = session_key(ACCOUNT, "another-0123456789", "s")
    async with host.use(other, EnvironmentSpec()) as environment:
        assert environment.record.session == other
