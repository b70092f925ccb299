import os
import subprocess
import sys
from pathlib import Path

from contracts.vault import ApiKeyProviderArn
from store import RingSource, Store, migrate
from store.vault_keyring import KeyRing

ARN = ApiKeyProviderArn("us-east-1", "000000000000", "a")
ROOT = Path(__file__).parents[2]


def everloop(data_dir: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the `everloop` command as an operator does."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "everloop.cli", *words],
        env={**os.environ, "EVERLOOP_DATA_DIR": str(data_dir), **env},
        cwd=data_dir,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def database(data_dir: Path) -> str:
    return f"sqlite:///{data_dir / 'everloop.db'}"


async def reveal(data_dir: Path, ring: RingSource) -> str:
    store = await Store.open(database(data_dir), ring)
    try:
        return await store.api_keys.reveal(ARN)
    finally:
        await store.close()


async def keep(data_dir: Path, ring: RingSource, key: str) -> None:
    migrate(database(data_dir))
    store = await Store.open(database(data_dir), ring)
    await store.api_keys.create(ARN, key)
    await store.close()


async def test_rotation_in_a_file_makes_a_key_and_wraps_anew(tmp_path: Path) -> None:
    ring = RingSource(tmp_path / "keyring.json", may_create=True)
    await keep(tmp_path, ring, "planted")
    before = ring.ring().primary
    done = everloop(tmp_path, "vault", "rotate")
    assert done.returncode == 0, done.stderr
    after = ring.ring()
    assert f"1 secrets are now under {after.primary}" in done.stdout
    assert after.primary != before
    assert await reveal(tmp_path, ring) == "planted"
    assert all(key.key not in done.stdout + done.stderr for key in after.keys.values())


async def test_rotation_in_the_environment_is_two_rings_and_a_rewrap(tmp_path: Path) -> None:
    printed = everloop(tmp_path, "vault", "keyring").stdout
    first = KeyRing.read(printed, "what was printed")
    await keep(tmp_path, RingSource(tmp_path / "unused", given=first.text()), "planted")
    refused = everloop(tmp_path, "vault", "rotate", EVERLOOP_KEYRING=first.text())
    assert refused.returncode == 1
    assert "--rewrap-only" in refused.stderr and "Traceback" not in refused.stderr
    second = KeyRing.read(everloop(tmp_path, "vault", "keyring").stdout, "what was printed")
    both = KeyRing(primary=second.primary, keys={**first.keys, **second.keys})
    done = everloop(tmp_path, "vault", "rotate", "--rewrap-only", EVERLOOP_KEYRING=both.text())
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "keyring.json").exists()
    assert await reveal(tmp_path, RingSource(tmp_path / "unused", given=second.text())) == "planted"
