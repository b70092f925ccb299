"""`python -m store.admin`: the vault's key ring. Takes `EVERLOOP_*` variables."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from contracts.errors import EverloopError
from contracts.settings import Settings
from store import RingSource, Store, migrate
from store.vault_keyring import KeyRing


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="everloop")
    groups = made.add_subparsers(dest="group", required=True)
    vault = groups.add_parser("vault", help="The master keys of the vault.")
    verbs = vault.add_subparsers(dest="verb", required=True)
    verbs.add_parser("keyring", help="Print a new key ring, for EVERLOOP_KEYRING.")
    rotate = verbs.add_parser("rotate", help="Make a new master key and wrap every secret anew.")
    rotate.add_argument(
        "--rewrap-only", action="store_true", help="Keep the ring's primary; only wrap anew."
    )
    return made


async def run(arguments: argparse.Namespace, settings: Settings) -> None:
    """Do what the command line says.

    Raises:
        EverloopError: it cannot be done; the message is for the operator.
    """
    ring = RingSource.of(settings)
    if arguments.verb == "keyring":
        print(KeyRing.new().text())
        return
    store = await Store.open(settings.database_url, ring)
    try:
        await _rotate(store, ring, rewrap_only=arguments.rewrap_only)
    finally:
        await store.close()


async def _rotate(store: Store, ring: RingSource, *, rewrap_only: bool) -> None:
    before = ring.ring().primary
    after = before if rewrap_only else ring.rotate().primary
    count = await store.rotation.rewrap()
    print(f"{count} secrets are now under {after}")
    if not rewrap_only:
        print(f"{before} stays in the ring, for backups of the database that were made before")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0, or 1 with one line on standard error."""
    arguments = parser().parse_args(words)
    try:
        settings = Settings.from_env(os.environ)
        if settings.database_url.startswith("sqlite"):
            migrate(settings.database_url)
        asyncio.run(run(arguments, settings))
    except (EverloopError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
