"""`everloop keys` and `everloop vault`: what an operator does on the server's own machine.

The work is the server's: it has the database and the key ring. The command hands its words on.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from everloop.cli.options import DEFAULT_DATA_DIR, DataDirOption, examples

MODULE = "store.admin"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    vault = typer.Typer(help="The master keys under which secrets are kept.", no_args_is_help=True)
    vault.command(
        "rotate",
        help="Make a new master key and wrap every secret's own key under it.",
        epilog=examples("everloop vault rotate", "everloop vault rotate --rewrap-only"),
    )(rotate)
    vault.command(
        "keyring",
        help="Print a new key ring, for EVERLOOP_KEYRING.",
        epilog=examples("everloop vault keyring > keyring.json"),
    )(keyring)
    app.add_typer(vault, name="vault")
    keys = typer.Typer(help="The access keys that callers sign with.", no_args_is_help=True)
    keys.command(
        "create",
        help="Make a key and print it as shell assignments; its secret is shown once.",
        epilog=examples(
            "everloop keys create --label ci", "everloop keys create --expires-in-days 90"
        ),
    )(create)
    keys.command("list", help="List the keys, without their secrets.")(list_all)
    keys.command(
        "delete",
        help="Delete a key; servers refuse it after a few seconds.",
        epilog=examples("everloop keys delete EVLP..."),
    )(delete)
    app.add_typer(keys, name="keys")


def create(
    label: Annotated[str, typer.Option(help="What to call it.")] = "",
    account: Annotated[
        str | None, typer.Option(help="Whom it speaks for; EVERLOOP_ACCOUNT when left out.")
    ] = None,
    expires_in_days: Annotated[int | None, typer.Option(help="Never when left out.")] = None,
    user: Annotated[
        str | None, typer.Option(help="Whom it stands for where people decide.", metavar="NAME")
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="A role that comes with it. Repeatable.", metavar="NAME"),
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Make an access key."""
    words = [f"--label={label}"]
    if account is not None:
        words.append(f"--account={account}")
    if expires_in_days is not None:
        words.append(f"--expires-in-days={expires_in_days}")
    if user is not None:
        words.append(f"--user={user}")
    words += [f"--role={name}" for name in role or ()]
    _run("keys", "create", *words, data_dir=data_dir)


def list_all(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """List access keys."""
    _run("keys", "list", data_dir=data_dir)


def delete(
    access_key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete an access key."""
    _run("keys", "delete", "--", access_key_id, data_dir=data_dir)


def rotate(
    rewrap_only: Annotated[
        bool,
        typer.Option("--rewrap-only", help="Keep the ring's primary key; only wrap anew."),
    ] = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Rotate the master key."""
    _run("vault", "rotate", *(["--rewrap-only"] if rewrap_only else []), data_dir=data_dir)


def keyring() -> None:
    """Print a key ring."""
    _run("vault", "keyring", data_dir=DEFAULT_DATA_DIR)


def _run(*words: str, data_dir: Path) -> None:
    """Have the server's command do it, on our own standard streams."""
    from everloop.dev.serve import require_server

    require_server()
    # -P: a directory called `store` where the user stands must not be imported.
    command = (sys.executable, "-P", "-m", MODULE, *words)
    env = {**os.environ, "EVERLOOP_DATA_DIR": str(data_dir.absolute())}
    done = subprocess.run(command, env=env, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
