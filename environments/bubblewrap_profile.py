"""What a bubblewrap sandbox sees and may do, as the arguments of `bwrap`.

The root is an empty read-only tree with the host's `/usr`, a few files of `/etc`, the session's
volume and small temporary file systems; the network has no interface but a loopback of its own;
there are no capabilities, and a seccomp filter refuses the rest.

Left out on purpose: `--die-with-parent`, which follows the thread that started bwrap, and ends
environments that must outlive their host process.
"""

import json
import os
import py_compile
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import TemporaryDirectory

from contracts.environment import EnvironmentSpec
from environments.agentd_relay import PORT

#: The user and group inside; outside it is the session's own.
INSIDE_ID = 1000
#: POSIX shared memory; Python's multiprocessing and browsers need some.
SHM_BYTES = 64 * 1024**2
#: Seconds beyond its idle time-out after which an environment ends by itself: its host, which would
#: have stopped it, does not live, and may never come back.
UNATTENDED_S = 300
#: Where the directory with the egress proxy's socket is seen inside.
PROXY_DIR = "/run/everloop-proxy"
PROXY_SOCKET = f"{PROXY_DIR}/s"
#: What an image may not bring: the sandbox makes it, or it holds the image's own secrets.
_MADE_HERE = frozenset({"proc", "dev", "sys", "tmp", "mnt", "run", "boot", "lost+found"})
_MADE_IN_ETC = frozenset(
    {"passwd", "group", "hosts", "shadow", "gshadow", "shadow-", "gshadow-", "resolv.conf"}
)
#: Where agentd's files are seen inside.
AGENTD_DIR = "/opt/everloop"
AGENTD_FILES = (
    "agentd.py",
    "agentd_files.py",
    "agentd_init.py",
    "agentd_jobs.py",
    "agentd_lanes.py",
    "agentd_loop.py",
    "agentd_memory.py",
    "agentd_output.py",
    "agentd_relay.py",
    "agentd_shells.py",
    "agentd_spool.py",
)
#: Where agentd is started by the first process of a container.
CONTAINER_FILES = (
    *AGENTD_FILES,
    "agentd_container.py",
    "agentd_restore.py",
    "agentd_seccomp.py",
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
class Mount:
    """A directory of the host inside a sandbox.

    Attributes:
        source: on the host.
        path: inside.
        read_only: whether commands may only read it.
    """

    source: Path
    path: str
    read_only: bool = False


@dataclass(frozen=True)
class Inside:
    """What a sandbox is given of the host, by where bwrap's process sees it.

    Attributes:
        mounts: the session's volume and shared directories.
        image: a root file system in place of the host's own programs.
        proxy: whether the egress proxy's socket is among the mounts.
    """

    mounts: tuple[Mount, ...]
    image: Path | None = None
    proxy: bool = False

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every directory that a sandbox is given beside the system's."""
        images = () if self.image is None else (self.image,)
        return (*(mount.source for mount in self.mounts), *images)

    def moved(self, places: Mapping[Path, Path]) -> "Inside":
        """The same where its directories are seen at other places."""
        mounts = tuple(
            Mount(places[mount.source], mount.path, mount.read_only) for mount in self.mounts
        )
        return Inside(mounts, self.image and places[self.image], self.proxy)


@dataclass(frozen=True)
class Descriptors:
    """The descriptor numbers, in bwrap's process, of what it reads and of what agentd inherits."""

    listener: int
    seccomp: int
    info: int
    #: Where a file's content can be read, by the path at which it is seen inside.
    files: Mapping[str, int]


@cache
def agentd_files(names: tuple[str, ...]) -> dict[str, bytes]:
    """What agentd is made of, by path below AGENTD_DIR.

    Compiled ones are among them, which saves most of its start. A Python of another version passes
    over them.
    """
    here = Path(__file__).parent
    files: dict[str, bytes] = {}
    with TemporaryDirectory() as directory:
        for name in names:
            compiled = py_compile.compile(
                str(here / name),
                cfile=f"{directory}/compiled",
                dfile=f"{AGENTD_DIR}/environments/{name}",
                doraise=True,
                # There is no time to compare, since the file is made anew for each sandbox.
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            files[f"environments/{name}"] = (here / name).read_bytes()
            cached = Path(cache_from_source(name))
            files[f"environments/{cached}"] = Path(str(compiled)).read_bytes()
    return files


def inside_files(mount: str) -> dict[str, bytes]:
    """The files that are made for a sandbox, by their path inside."""
    found = agentd_files(AGENTD_FILES)
    files = {f"{AGENTD_DIR}/{name}": content for name, content in found.items()}
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


def base_variables(mount: str, *, proxy: bool = False) -> dict[str, str]:
    """The environment that every command has."""
    variables = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": mount,
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
    }
    if proxy:
        # Some programs read one spelling, some the other.
        for name in ("http_proxy", "https_proxy"):
            variables[name] = variables[name.upper()] = f"http://127.0.0.1:{PORT}"
        variables["no_proxy"] = variables["NO_PROXY"] = "localhost,127.0.0.1,::1"
    return variables


def arguments(
    spec: EnvironmentSpec, inside: Inside, descriptors: Descriptors, image: Path | None = None
) -> list[str]:
    """The arguments of bwrap, without the command that follows them.

    Args:
        spec: what the session asked for.
        inside: what it is given of the host.
        descriptors: what bwrap inherits.
        image: the root file system as this process sees it, to look what is in it.
    """
    mounts = [
        word
        for mount in inside.mounts
        for word in ("--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.path)
    ]
    return [
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--as-pid-1"),
        *("--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "sandbox"),
        *("--cap-drop", "ALL", "--new-session", "--clearenv"),
        *_set_variables(spec, descriptors.listener, inside.proxy),
        *(_system() if inside.image is None else _from_image(inside.image, image or inside.image)),
        *_made_files(descriptors.files),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(spec.limits.tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp"),
        *("--size", str(SHM_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm"),
        *mounts,
        # bwrap's /dev is a file system in memory without a bound.
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", spec.mount),
        *("--seccomp", str(descriptors.seccomp), "--info-fd", str(descriptors.info)),
    ]


def agentd_config(
    spec: EnvironmentSpec, *, proxy: str | None = None, proxy_stream: bool = False
) -> str:
    """What agentd reads from AGENTD_CONFIG, whatever the provider.

    Args:
        spec: what the session asked for.
        proxy: the path inside at which the egress proxy's socket is, if it has one there.
        proxy_stream: whether the host carries connections to the proxy by a stream.
    """
    config = {
        **asdict(spec.limits),
        "mount": spec.mount,
        "unattended_s": spec.idle_timeout_s + UNATTENDED_S,
        "variables": base_variables(spec.mount, proxy=proxy is not None or proxy_stream),
        "proxy": proxy,
        "proxy_stream": proxy_stream,
    }
    return json.dumps(config)


def _set_variables(spec: EnvironmentSpec, listener: int, proxy: bool) -> list[str]:
    variables = {
        **base_variables(spec.mount),
        "AGENTD_FD": str(listener),
        "AGENTD_CONFIG": agentd_config(spec, proxy=PROXY_SOCKET if proxy else None),
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


def _from_image(place: Path, image: Path) -> list[str]:
    """An image's tree, but for what the sandbox makes itself.

    Args:
        place: where bwrap's process sees it.
        image: where this process sees it.
    """
    words: list[str] = []
    for name in sorted(os.listdir(image)):
        if name in ("etc", "opt"):
            # Files of ours are put beside the image's own.
            words += ["--dir", f"/{name}"]
            for child in sorted(os.listdir(image / name)):
                if name == "opt" or child not in _MADE_IN_ETC:
                    words += _bound(image, place, f"{name}/{child}")
        elif name not in _MADE_HERE:
            words += _bound(image, place, name)
    return words


def _bound(image: Path, place: Path, name: str) -> Iterator[str]:
    if (image / name).is_symlink():
        yield from ("--symlink", os.readlink(image / name), f"/{name}")
    elif (image / name).is_dir() or (image / name).is_file():
        yield from ("--ro-bind", str(place / name), f"/{name}")


def _made_files(files: Mapping[str, int]) -> list[str]:
    return [
        word
        for path, fd in files.items()
        for word in ("--perms", "0444", "--ro-bind-data", str(fd), path)
    ]


#: Joins control groups, then gathers directories in a file system of its own at /mnt.
_JOIN = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift'
_GATHER = (
    "mount -t tmpfs -o mode=0755,size=64k none /mnt; "
    'while [ "$1" != -- ]; do mkdir "$2"; mount --bind "$1" "$2"; shift 2; done; shift'
)
#: The kernel takes sandboxes before anything else of the machine. With CAP_SYS_RESOURCE this is the
#: lowest score, too, that anything inside can give itself.
_OFFER = "echo 900 > /proc/self/oom_score_adj"
_EXEC = 'unset PWD OLDPWD; exec "$@"'


def gathered(sources: Sequence[Path]) -> dict[Path, Path]:
    """Where `as_root` puts each directory."""
    return {source: Path(f"/mnt/{index}") for index, source in enumerate(sources)}


def in_groups(groups: Sequence[Path], command: Sequence[str]) -> list[str]:
    """Start a command, an absolute path and its arguments, in control groups."""
    shell = shutil.which("sh") or "sh"
    return [shell, "-c", f"set -e; {_JOIN}; {_EXEC}", "sh", *map(str, groups), "--", *command]


def as_root(
    user: int, sources: Sequence[Path], groups: Sequence[Path], command: Sequence[str]
) -> list[str]:
    """Let root start a command as a session's own user, with directories gathered below `/mnt`.

    In a mount namespace of its own, because that user may not be able to reach them through their
    parent directories; and never as root, who would otherwise own the sandbox's user namespace.

    Args:
        user: the session's host user.
        sources: directories of the host; `gathered` says where the command sees them.
        groups: control groups that it joins.
        command: an absolute path and its arguments. Its environment is empty, because the sandbox
            can read that of its first process.
    """
    identity = ("--reuid", str(user), "--regid", str(user), "--clear-groups", "--no-new-privs")
    path = {name: shutil.which(name) or name for name in ("unshare", "sh", "setpriv")}
    places = [str(word) for pair in gathered(sources).items() for word in pair]
    return [
        # As a slave, so that what the host unmounts later does not stay in use here.
        *(path["unshare"], "--mount", "--propagation", "slave", path["sh"], "-c"),
        *(
            f"set -e; {_JOIN}; {_GATHER}; {_OFFER}; {_EXEC}",
            "sh",
            *map(str, groups),
            "--",
            *places,
            "--",
        ),
        *(path["setpriv"], *identity, *command),
    ]
