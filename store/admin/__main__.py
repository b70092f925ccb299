"""`python -m store.admin`: access keys and the key ring. Takes `EVERLOOP_*` variables."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from contracts.errors import EverloopError
from contracts.settings import Settings
from store import KmsRing, Ring, Store, migrate, ring_of
from store.vault_keyring import KeyRing

ACCOUNT_DIGITS = 12
#: A key for longer than this should be one that does not expire.
MAX_DAYS = 3650


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
    keys = groups.add_parser("keys", help="The access keys that callers of the API sign with.")
    verbs = keys.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="Make a key and print it; the secret is shown once.")
    create.add_argument("--label", default="")
    create.add_argument("--account", help="Twelve digits; EVERLOOP_ACCOUNT when left out.")
    create.add_argument("--expires-in-days", type=int)
    verbs.add_parser("list", help="List the keys, without secrets.")
    delete = verbs.add_parser("delete", help="Delete a key.")
    delete.add_argument("access_key_id")
    return made


async def run(arguments: argparse.Namespace, settings: Settings) -> None:
    """Do what the command line says.

    Raises:
        EverloopError: it cannot be done; the message is for the operator.
    """
    ring = ring_of(settings)
    if arguments.verb == "keyring":
        print(KeyRing.new().text())
        return
    store = await Store.open(settings.database_url, ring)
    try:
        match arguments.group, arguments.verb:
            case "keys", "create":
                await _create(store, settings, arguments)
            case "keys", "list":
                await _list(store)
            case "keys", "delete":
                await store.access_keys.delete(arguments.access_key_id)
                print(f"deleted {arguments.access_key_id}; it may be let in for 5 s more")
            case _:
                await _rotate(store, ring, rewrap_only=arguments.rewrap_only)
    finally:
        await store.close()


async def _create(store: Store, settings: Settings, arguments: argparse.Namespace) -> None:
    account: str = arguments.account or settings.account
    if not (len(account) == ACCOUNT_DIGITS and account.isascii() and account.isdecimal()):
        raise ValueError(f"the account must be {ACCOUNT_DIGITS} digits, not {account!r}")
    days: int | None = arguments.expires_in_days
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise ValueError(f"a key expires in 1 to {MAX_DAYS} days, not {days}")
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    made = await store.access_keys.create(account, arguments.label, expires_at=expires_at)
    print(f"export AWS_ACCESS_KEY_ID={made.record.access_key_id}")
    print(f"export AWS_SECRET_ACCESS_KEY={made.secret}")
    print("The secret is not shown again.", file=sys.stderr)


async def _list(store: Store) -> None:
    for key in await store.access_keys.list():
        until = "never expires" if key.expires_at is None else f"expires {key.expires_at:%Y-%m-%d}"
        label = "".join(char for char in key.label if char.isprintable())
        print(f"{key.access_key_id}  {key.account}  {key.created_at:%Y-%m-%d}  {until}  {label}")


async def _rotate(store: Store, ring: Ring, *, rewrap_only: bool) -> None:
    if isinstance(ring, KmsRing):
        # KMS rotates inside a key, whose name stays: only what is wrapped anew is under the newest.
        count = await store.rotation.rewrap(everything=not rewrap_only)
        key = await ring.following(store.token_vault.kms_key).primary()
        print(f"{count} secrets were wrapped anew under {key}")
        return
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
