"""Runs tests as an ordinary user: `python -m tests.environments.ordinary_user`, by root.

In a mount namespace of its own, where the directories of Python and of this repository can be
reached although root keeps them to itself.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

#: A user that no machine has given to anybody.
USER = 61_234
ROOT = Path(__file__).parents[2]
#: What cannot run without root, or without an engine that runs as root.
SELECTED = ("tests/environments", "-k", "not docker and not kubernetes and not ordinary_user")


def _closed(path: Path) -> Path | None:
    """The highest directory above a path that only its owner can pass through."""
    above = reversed(path.parents)
    return next((each for each in above if not each.stat().st_mode & 0o001), None)


def _opened(needed: set[Path], hold: Path) -> list[str]:
    """Shell commands that show closed directories with nothing in them but what is needed."""
    held = {path: hold / str(index) for index, path in enumerate(sorted(needed)) if _closed(path)}
    words = [f"mount --bind {shlex.quote(str(path))} {held[path]}" for path in held]
    tops = sorted({str(_closed(path)) for path in held})
    words += [f"mount -t tmpfs -o mode=0755 none {shlex.quote(closed)}" for closed in tops]
    for path, place in held.items():
        place.mkdir(parents=True)
        quoted = shlex.quote(str(path))
        words.append(f"mkdir -p {quoted} && mount --bind {place} {quoted}")
    return words


def run(*arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run pytest as an ordinary user.

    Args:
        arguments: what it runs.
        timeout_s: seconds until it is ended.
    """
    # Not in pytest's directory, which nobody else can pass through.
    with tempfile.TemporaryDirectory(prefix="ordinary-user-") as name:
        home = Path(name)
        home.chmod(0o755)
        own = home / "own"
        own.mkdir()
        os.chown(own, USER, USER)
        needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix), ROOT}
        script = ["set -e", *_opened(needed, home / "hold"), 'exec "$@"']
        identity = ("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups")
        variables = ("env", f"HOME={own}", f"TMPDIR={own}", "PYTHONDONTWRITEBYTECODE=1")
        pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs")
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script), "sh"]
            + [*identity, *variables, *pytest, f"--basetemp={own / 'pytest'}", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


if __name__ == "__main__":
    done = run(*(sys.argv[1:] or SELECTED), timeout_s=1800)
    sys.stdout.write(done.stdout + done.stderr)
    sys.exit(done.returncode)
