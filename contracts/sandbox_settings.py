"""What an operator lets environments of one machine use and reach."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.env_values import choice, flag, items, whole
from contracts.environment import EnvironmentLimits

MIB = 1024**2
#: An address that is to be reached is compared with each.
MAX_RANGES = 64


@dataclass(frozen=True)
class SandboxSettings:
    """How the sandbox host of a machine bounds its environments.

    Attributes:
        limits: of one environment.
        cgroups: whether control groups are used where they can be had.
        volume_images: whether volumes are disk images of a fixed size, which needs root.
        volume_days: days without use after which a session's files are removed; 0 for never.
        private_ranges: networks that are not public and that an allow-list may reach all the same.
        map_file: the operator's map (`contracts/operator_map.py`); None for none.
    """

    limits: EnvironmentLimits = EnvironmentLimits()
    cgroups: bool = True
    volume_images: bool = False
    volume_days: int = 14
    private_ranges: tuple[str, ...] = ()
    map_file: Path | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "SandboxSettings":
        """Read `EVERLOOP_SANDBOX_*`, `EVERLOOP_VOLUME_*` and what stands beside them.

        Raises:
            ValueError: a variable does not hold what it must; the message names it.
        """
        own = EnvironmentLimits()

        def mib(name: str, default: int, low: int) -> int:
            return MIB * whole(env, f"EVERLOOP_SANDBOX_{name}_MIB", default // MIB, low, 2**24)

        def count(name: str, default: int, low: int, high: int) -> int:
            return whole(env, f"EVERLOOP_SANDBOX_{name}", default, low, high)

        map_file = env.get("EVERLOOP_ENVIRONMENTS_FILE")
        return cls(
            limits=EnvironmentLimits(
                memory_bytes=mib("MEMORY", own.memory_bytes, 64),
                processes=count("PROCESSES", own.processes, 8, 32768),
                cpu_percent=count("CPU_PERCENT", own.cpu_percent, 5, 100_000),
                open_files=count("OPEN_FILES", own.open_files, 64, 1_048_576),
                file_bytes=mib("FILE", own.file_bytes, 1),
                tmp_bytes=mib("TMP", own.tmp_bytes, 1),
                disk_bytes=mib("DISK", own.disk_bytes, 16),
                output_bytes=1024
                * whole(env, "EVERLOOP_SANDBOX_OUTPUT_KIB", own.output_bytes // 1024, 1, 256),
            ),
            cgroups=choice(env, "EVERLOOP_SANDBOX_CGROUPS", ("auto", "off")) != "off",
            volume_images=flag(env, "EVERLOOP_VOLUME_IMAGES"),
            volume_days=whole(env, "EVERLOOP_VOLUME_DAYS", cls.volume_days, 0, 36500),
            private_ranges=_ranges("EVERLOOP_EGRESS_PRIVATE_RANGES", env),
            map_file=Path(map_file).absolute() if map_file else None,
        )


def _ranges(name: str, env: Mapping[str, str]) -> tuple[str, ...]:
    found = items(env, name)
    if len(found) > MAX_RANGES:
        raise ValueError(f"{name} may hold at most {MAX_RANGES} networks")
    for text in found:
        check_network(text, name)
    return found


def check_network(text: str, name: str) -> str:
    """See that a text is a network as `10.1.0.0/16`.

    Raises:
        ValueError: it is not; the message begins with `name`.
    """
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{name} must hold networks as 10.1.0.0/16, not {text!r}") from None
    return text
