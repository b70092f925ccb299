"""What a bubblewrap sandbox sees and may do, as the arguments of `bwrap`.

The root is an empty read-only tree with the host's `/usr`, a few files of `/etc`, the session's
volume and small temporary file systems; the network has no interface but a loopback of its own;
there are no capabilities, and a seccomp filter refuses the rest.

Left out on purpose: `--die-with-parent`, which follows the thread that started bwrap, and ends
environments that must outlive their host process.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts.environment import EnvironmentSpec

#: The user and group inside; outside it is the session's own.
INSIDE_ID = 1000
#: POSIX shared memory; Python's multiprocessing and browsers need some.
SHM_BYTES = 64 * 1024**2
#: Seconds beyond its idle time-out after which an environment ends by itself: its host, which would
#: have stopped it, does not live, and may never come back.
UNATTENDED_S = 300
#: Where agentd's files are seen inside.
AGENTD_DIR = "/opt/everloop"
AGENTD_FILES = (
    "agentd.py",
    "agentd_files.py",
    "agentd_jobs.py",
    "agentd_loop.py",
    "agentd_memory.py",
    "agentd_output.py",
    "agentd_shells.py",
    "agentd_spool.py",
)
#: Without `site`, user packages or byte code: it starts in half the time and writes nothing.
AGENTD_COMMAND = (
    "python3",
    "-SsEB",
    "-c",
    f"import sys; sys.path.insert(0, {AGENTD_DIR!r}); from environments.agentd import main; main()",
)
#: Read-only files of the host's that programs need to start or to format text.
_ETC = ("alternatives", "ssl/certs", "fonts", "ld.so.cache", "localtime", "mime.types")
#: On merged systems these are links into /usr.
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PASSWD = (
    f"user:x:{INSIDE_ID}:{INSIDE_ID}::{{home}}:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
)
_GROUP = f"user:x:{INSIDE_ID}:\nnogroup:x:65534:\n"
_HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost\n"


@dataclass(frozen=True)
class Descriptors:
    """The descriptor numbers, in bwrap's process, of what it reads and of what agentd inherits."""

    listener: int
    seccomp: int
    info: int
    #: Where a file's content can be read, by the path at which it is seen inside.
    files: Mapping[str, int]


def inside_files(mount: str) -> dict[str, bytes]:
    """The files that are made for a sandbox, by their path inside."""
    here = Path(__file__).parent
    files = {
        f"{AGENTD_DIR}/environments/{name}": (here / name).read_bytes() for name in AGENTD_FILES
    }
    files["/etc/passwd"] = _PASSWD.format(home=mount).encode()
    files["/etc/group"] = _GROUP.encode()
    files["/etc/hosts"] = _HOSTS.encode()
    return files


def user_files(user: int, home: str) -> dict[str, str]:
    """`passwd` and `group` of a container whose commands have this user id."""
    return {
        "passwd": f"root:x:0:0::/root:/bin/false\nuser:x:{user}:{user}::{home}:/bin/bash\n"
        "nobody:x:65534:65534::/:/bin/false\n",
        "group": f"root:x:0:\nuser:x:{user}:\nnogroup:x:65534:\n",
    }


def base_variables(mount: str) -> dict[str, str]:
    """The environment that every command has."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": mount,
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
    }


def arguments(spec: EnvironmentSpec, volume: str, descriptors: Descriptors) -> list[str]:
    """The arguments of bwrap, without the command that follows them.

    Args:
        spec: what the session asked for.
        volume: the session's volume, as bwrap's process sees it.
        descriptors: what bwrap inherits.
    """
    return [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns"),
        *("--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "sandbox"),
        *("--cap-drop", "ALL", "--new-session", "--clearenv"),
        *_set_variables(spec, descriptors.listener),
        *_system(),
        *_made_files(descriptors.files),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(spec.limits.tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp"),
        *("--size", str(SHM_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm"),
        *("--bind", volume, spec.mount),
        *("--remount-ro", "/", "--chdir", spec.mount),
        *("--seccomp", str(descriptors.seccomp), "--info-fd", str(descriptors.info)),
    ]


def agentd_config(spec: EnvironmentSpec) -> str:
    """What agentd reads from AGENTD_CONFIG, whatever the provider."""
    config = {
        **asdict(spec.limits),
        "mount": spec.mount,
        "unattended_s": spec.idle_timeout_s + UNATTENDED_S,
        "variables": base_variables(spec.mount),
    }
    return json.dumps(config)


def _set_variables(spec: EnvironmentSpec, listener: int) -> list[str]:
    variables = {
        **base_variables(spec.mount),
        "AGENTD_FD": str(listener),
        "AGENTD_CONFIG": agentd_config(spec),
    }
    return [word for name, value in variables.items() for word in ("--setenv", name, value)]


def _system() -> list[str]:
    words = ["--ro-bind", "/usr", "/usr", "--dir", "/etc"]
    for name in _TOP:
        path = f"/{name}"
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            words += ["--ro-bind", path, path]
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return words


def _made_files(files: Mapping[str, int]) -> list[str]:
    return [
        word
        for path, fd in files.items()
        for word in ("--perms", "0444", "--ro-bind-data", str(fd), path)
    ]


def as_root(user: int, volume: str, command: Sequence[str]) -> list[str]:
    """Let root start a command as a session's own user, with the session's volume at `/mnt`.

    In a mount namespace of its own, because that user may not be able to reach the volume through
    its parent directories; and never as root, who would otherwise own the sandbox's user namespace.

    Args:
        user: the session's host user.
        volume: the session's volume on the host.
        command: an absolute path and its arguments. Its environment is empty, because the sandbox
            can read that of its first process.
    """
    script = 'mount --bind "$0" /mnt && unset PWD OLDPWD && exec "$@"'
    identity = ("--reuid", str(user), "--regid", str(user), "--clear-groups", "--no-new-privs")
    path = {name: shutil.which(name) or name for name in ("unshare", "sh", "setpriv")}
    return [
        *(path["unshare"], "--mount", path["sh"], "-c", script, volume),
        *(path["setpriv"], *identity, *command),
    ]
