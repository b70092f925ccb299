"""What a kind of environment must offer, so that Docker and Kubernetes can stand beside bubblewrap.

A provider starts, finds and ends environments. What happens inside one is agentd's, whatever the
provider, and is spoken of through `channel.AgentChannel`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from contracts.environment import EnvironmentSpec
from contracts.errors import EnvironmentUnavailable
from environments.channel import AgentChannel
from environments.session_volume import SessionVolume

#: `/mnt/<name>`, 200 characters at most: MountPath of AWS's model.
_MOUNT = re.compile(r"/mnt/(?!\.{1,2}$)[A-Za-z0-9._-]{1,195}")

#: Plain JSON that finds an environment again; only its provider reads it.
Reference = dict[str, str | int]


class Liveness(StrEnum):
    """What a provider knows of an environment."""

    RUNNING = "running"
    #: Confirmed to have ended. Only this allows that another is started in its place.
    GONE = "gone"
    #: The provider cannot tell now; nothing may be concluded.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Started:
    """A new environment that answers."""

    reference: Reference
    boot_id: str


class EnvironmentProvider(Protocol):
    """One kind of environment."""

    @property
    def name(self) -> str:
        """What records call it."""
        ...

    def described(self) -> dict[str, str]:
        """What bounds environments here, for people."""
        ...

    async def probe(self) -> None:
        """Find out, once, whether environments can run here.

        Raises:
            EnvironmentUnavailable: they cannot; the message says why and how to mend it.
        """
        ...

    async def start(self, session: str, spec: EnvironmentSpec, *, generation: int) -> Started:
        """Start an environment on the session's volume, which is made when there is none.

        The caller sees to it that no other environment of the session runs.

        Raises:
            EnvironmentUnavailable: it could not be started; the message says why.
        """
        ...

    def connect(self, reference: Reference) -> AgentChannel:
        """A channel to a running environment; it connects when it is used."""
        ...

    async def status(self, reference: Reference) -> Liveness:
        """Whether an environment runs."""
        ...

    async def stop(self, reference: Reference) -> None:
        """End an environment at once. Its volume stays. Idempotent."""
        ...

    async def delete(self, session: str) -> None:
        """Remove a session's volume; its environment has been stopped. Idempotent."""
        ...

    async def stop_orphans(self, known: Sequence[Reference]) -> int:
        """End every environment of this owner that is not among `known`; returns how many."""
        ...

    async def close(self) -> None:
        """Let go of what was held to speak with environments; they run on."""
        ...


@runtime_checkable
class LocalVolumes(Protocol):
    """A provider whose sessions' files are in directories of this machine."""

    def volume(self, session: str) -> tuple[Path, int]:
        """The directory of a session's files, made when there is none, and the user that owns it.

        What is in it was put there by commands: links may lead anywhere.
        """
        ...


@runtime_checkable
class DistantVolumes(Protocol):
    """A provider whose sessions' files are where this machine does not reach."""

    def distant(self, session: str, mount: str) -> SessionVolume:
        """A session's files, in a volume that is made when there is none and it is used."""
        ...


@runtime_checkable
class SharesVolumes(Protocol):
    """A provider whose volumes every host that works in the same place has.

    Whoever starts an environment on a volume first ends every other that has it, of any host.
    """

    async def volumes_id(self) -> str:
        """What names that place for all hosts, 32 letters and digits.

        Raises:
            EnvironmentUnavailable: it cannot be asked for.
        """
        ...


@runtime_checkable
class MeasuresVolumes(Protocol):
    """A provider whose volumes have no bound of their own."""

    def used_bytes(self, session: str) -> int | None:
        """What a session's files take on the disk; None where something bounds them. Blocks."""
        ...


@runtime_checkable
class NamesVolumes(Protocol):
    """A provider that finds volumes by `contracts.ids.volume_name` alone."""

    def delete_named(self, name: str) -> None:
        """Remove a volume whose session is somewhere else. Idempotent. Blocks."""
        ...


def check_mounts(spec: EnvironmentSpec) -> None:
    """See that what an environment mounts has a place of its own below /mnt.

    Raises:
        EnvironmentUnavailable: it does not.
    """
    paths = [spec.mount, *(share.path for share in spec.shares)]
    for path in paths:
        if not _MOUNT.fullmatch(path):
            raise EnvironmentUnavailable(f"the mount must be /mnt/<name>, not {path!r}")
    if len(set(paths)) < len(paths):
        raise EnvironmentUnavailable("two file systems have one mount")
