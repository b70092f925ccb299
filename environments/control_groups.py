"""Control groups: the kernel's own bounds on memory, processes and processor time of a sandbox.

Three machines are met: one whose hierarchy of version 2 is delegated to us (systemd's
`Delegate=yes`), one with writable hierarchies of version 1, and one with neither, where resource
limits and agentd's watchdog stand alone. Found out once, by trying.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.environment import EnvironmentLimits

#: Without these two there is no gain over resource limits.
NEEDED = ("memory", "pids")
WANTED = (*NEEDED, "cpu")
#: Processes of a sandbox that are ours: bubblewrap's, agentd, a shell that starts them.
OWN_PROCESSES = 8
#: Of memory, beside commands': agentd, bubblewrap, page tables. agentd's watchdog acts first and
#: ends whole commands; the kernel's bound is for what grows faster than the watchdog looks.
OWN_BYTES = 64 * 1024**2
#: Microseconds of a period in which a share of processor time is given out; the kernel's default.
PERIOD_US = 100_000
#: Where a service of ours runs inside a delegated group: version 2 allows no processes in a group
#: that has groups with limits below it.
OWN_GROUP = "everloop-host"
#: All groups of sandboxes are made below it.
PARENT = "everloop"
#: Seconds until the last process of a killed sandbox has left its group.
LEAVE_S = 2.0


@dataclass(frozen=True)
class ControlGroups:
    """Where groups of sandboxes are made.

    Attributes:
        version: 1 or 2.
        roots: a directory of ours for each controller; the same for all in version 2.
    """

    version: int
    roots: Mapping[str, Path]

    @property
    def described(self) -> str:
        """For people."""
        return f"control groups v{self.version} ({', '.join(self.roots)})"

    def make(self, name: str, limits: EnvironmentLimits, shared_bytes: int) -> list[Path]:
        """Make a sandbox's groups, or bound those that are there.

        Args:
            name: the sandbox's, which no other on this machine has.
            limits: what it may use.
            shared_bytes: of its temporary file systems, whose pages count as memory.

        Returns:
            Its groups. A process joins by writing 0 to `cgroup.procs` of each.

        Raises:
            OSError: they cannot be made.
        """
        memory = limits.memory_bytes + shared_bytes + OWN_BYTES
        values = _values_v2(limits, memory) if self.version == 2 else _values_v1(limits, memory)
        made: dict[Path, None] = {}
        for controller, root in self.roots.items():
            group = root / name
            group.mkdir(exist_ok=True)
            made[group] = None
            for file, value in values[controller]:
                # Swap accounting may be off; what is there must be set.
                if (group / file).exists():
                    (group / file).write_text(value)
        return list(made)


def remove(groups: list[Path]) -> None:
    """Remove groups whose processes have ended or are about to. Blocks for `LEAVE_S` at most."""
    deadline = time.monotonic() + LEAVE_S
    for group in groups:
        while group.exists():
            try:
                group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.01)


def memory_kills(groups: list[Path]) -> int:
    """How often the kernel has ended a process of these groups for want of memory."""
    for group in groups:
        for file in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                lines = (group / file).read_text().splitlines()
                return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0


def detect(
    *, proc: Path = Path("/proc/self"), mounts: str | None = None
) -> tuple[ControlGroups | None, str]:
    """Find out what can be had here.

    Args:
        proc: of the process that asks.
        mounts: its mountinfo, when not that of `proc`.

    Returns:
        Where to make groups, and None when nowhere; and why not, for people.
    """
    own = _own_groups((proc / "cgroup").read_text())
    found = _mounts(mounts if mounts is not None else (proc / "mountinfo").read_text())
    reasons: list[str] = []
    for attempt in (_version_2, _version_1):
        try:
            return attempt(own, found), ""
        except (OSError, LookupError) as error:
            reasons.append(str(error))
    return None, "; ".join(reasons)


def _version_2(own: Mapping[str, str], mounts: Mapping[str, Path]) -> ControlGroups:
    if "" not in mounts or "" not in own:
        raise LookupError("version 2 is not mounted")
    base = mounts[""] / own[""].lstrip("/")
    if base.name == OWN_GROUP:
        base = base.parent
    offered = (base / "cgroup.controllers").read_text().split()
    if not set(NEEDED) <= set(offered):
        raise LookupError("version 2 offers no memory and pids controllers here")
    if not os.access(base / "cgroup.subtree_control", os.W_OK):
        raise LookupError("version 2 is not delegated to this user")
    used = [controller for controller in WANTED if controller in offered]
    if not set(used) <= set((base / "cgroup.subtree_control").read_text().split()):
        with contextlib.suppress(FileExistsError):
            (base / OWN_GROUP).mkdir()
        (base / OWN_GROUP / "cgroup.procs").write_text(str(os.getpid()))
        _enable(base, used)
    root = base / PARENT
    root.mkdir(exist_ok=True)
    if not os.access(root, os.W_OK | os.X_OK):
        raise LookupError("version 2 is not delegated to this user")
    _enable(root, used)
    return ControlGroups(2, dict.fromkeys(used, root))


def _enable(group: Path, controllers: list[str]) -> None:
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers))


def _version_1(own: Mapping[str, str], mounts: Mapping[str, Path]) -> ControlGroups:
    roots: dict[str, Path] = {}
    for controller in WANTED:
        try:
            root = mounts[controller] / own[controller].lstrip("/") / PARENT
            root.mkdir(exist_ok=True)
            # Another user of the machine may have made it.
            if not os.access(root, os.W_OK | os.X_OK):
                raise PermissionError(root)
        except (OSError, KeyError):
            if controller in NEEDED:
                raise LookupError(f"version 1 has no writable {controller} controller") from None
        else:
            roots[controller] = root
    return ControlGroups(1, roots)


def _own_groups(text: str) -> dict[str, str]:
    """Our group in each hierarchy; that of version 2 has no name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _mounts(text: str) -> dict[str, Path]:
    """Where each hierarchy is mounted; of a mount of a part, as in containers, its own root."""
    found: dict[str, Path] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault("", place)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in WANTED:
                    found.setdefault(option, place)
    return found


def _values_v1(limits: EnvironmentLimits, memory: int) -> dict[str, list[tuple[str, str]]]:
    quota = limits.cpu_percent * PERIOD_US // 100
    return {
        "memory": [
            ("memory.limit_in_bytes", str(memory)),
            # Together with swap, which would only put the end off.
            ("memory.memsw.limit_in_bytes", str(memory)),
        ],
        "pids": [("pids.max", str(limits.processes + OWN_PROCESSES))],
        "cpu": [("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", str(quota))],
    }


def _values_v2(limits: EnvironmentLimits, memory: int) -> dict[str, list[tuple[str, str]]]:
    quota = limits.cpu_percent * PERIOD_US // 100
    return {
        "memory": [("memory.max", str(memory)), ("memory.swap.max", "0")],
        "pids": [("pids.max", str(limits.processes + OWN_PROCESSES))],
        "cpu": [("cpu.max", f"{quota} {PERIOD_US}")],
    }
