import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import KeyRingFault
from contracts.settings import Settings
from store.vault_keyring import KeyRing, RingSource


def at(path: Path) -> RingSource:
    return RingSource(path / "keyring.json", may_create=True)


def test_a_ring_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [threads.submit(at(tmp_path).ring) for _ in range(16)]
    rings = [each.result() for each in made]
    assert all(ring == rings[0] for ring in rings)
    assert [path.name for path in tmp_path.iterdir()] == ["keyring.json"]
    assert (tmp_path / "keyring.json").stat().st_mode & 0o777 == 0o600


def test_a_ring_that_others_can_read_is_refused(tmp_path: Path) -> None:
    at(tmp_path).ring()
    (tmp_path / "keyring.json").chmod(0o640)
    with pytest.raises(KeyRingFault, match="chmod 600"):
        at(tmp_path).ring()


def test_a_ring_is_made_only_where_one_machine_has_all_processes(tmp_path: Path) -> None:
    embedded = Settings(f"sqlite:///{tmp_path}/e.db", tmp_path)
    shared = Settings("postgresql+asyncpg://u@h/d", tmp_path)
    with pytest.raises(KeyRingFault, match="everloop vault keyring"):
        RingSource.of(shared).ring()
    assert not (tmp_path / "keyring.json").exists()
    assert RingSource.of(embedded).ring().keys
    assert RingSource.of(shared).ring() == RingSource.of(embedded).ring()


def test_the_environment_takes_the_place_of_the_file(tmp_path: Path) -> None:
    ring = KeyRing.new()
    env = {"EVERLOOP_DATA_DIR": str(tmp_path), "EVERLOOP_KEYRING": ring.text()}
    settings = Settings.from_env(env)
    source = RingSource.of(settings)
    assert source.ring() == ring
    assert list(tmp_path.iterdir()) == []
    (key,) = ring.keys.values()
    assert key.key not in repr(settings) + repr(source) + repr(ring)
    with pytest.raises(KeyRingFault, match="EVERLOOP_KEYRING"):
        source.rotate()


def test_a_rotated_file_is_seen_by_who_holds_the_old_one(tmp_path: Path) -> None:
    holder = at(tmp_path)
    before = holder.ring()
    after = at(tmp_path).rotate()
    assert after.primary != before.primary
    assert after.keys[before.primary] == before.keys[before.primary]
    assert holder.ring() == after
    assert (tmp_path / "keyring.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "wrong",
    [
        {"primary": "s3cret"},
        {"more": "s3cret"},
        {"keys": {"k": {"key": "s3cret", "created": "x"}}},
        {"keys": {"k": "s3cret"}},
    ],
)
def test_what_is_no_ring_is_refused_without_being_shown(wrong: dict[str, Any]) -> None:
    ring = {**json.loads(KeyRing.new().text()), **wrong}
    for text in (json.dumps(ring), json.dumps(ring)[1:]):
        with pytest.raises(KeyRingFault, match="EVERLOOP_KEYRING is not a key ring") as caught:
            RingSource(Path("/nonexistent"), given=text).ring()
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None
