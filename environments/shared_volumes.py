"""Volumes that several sandbox hosts share: in a directory that all of them mount, or a cluster.

An id that is kept in the place itself says that two hosts have the same: paths do not, because two
machines may have different directories under one.
"""

import os
import uuid
from pathlib import Path

from contracts.environment import HostVolumes
from contracts.errors import EnvironmentUnavailable
from contracts.settings import Settings
from environments.provider import EnvironmentProvider, SharesVolumes

#: The id's file. No volume has such a name.
ID_FILE = ".everloop-volumes"
#: An id has 32 characters; more is not ours.
ID_BYTES = 64


async def volumes_of(settings: Settings, provider: EnvironmentProvider) -> HostVolumes:
    """What a sandbox host of this provider tells others of its volumes.

    Raises:
        EnvironmentUnavailable: the shared directory is not there or cannot be written, or the
            cluster cannot be asked.
    """
    found = host_volumes(settings)
    if isinstance(provider, SharesVolumes):
        return HostVolumes(await provider.volumes_id(), found.may_lose_files)
    return found


def host_volumes(settings: Settings) -> HostVolumes:
    """What a sandbox host whose volumes are directories tells others of them.

    Raises:
        EnvironmentUnavailable: the shared directory is not there or cannot be written.
    """
    if settings.volumes_dir is None:
        return HostVolumes(None, settings.files_may_be_lost)
    return HostVolumes(shared_id(settings.volumes_dir), settings.files_may_be_lost)


def shared_id(directory: Path) -> str:
    """The id of a shared directory, which the first host gives it.

    Raises:
        EnvironmentUnavailable: it is not there, cannot be written, or its id is not one.
    """
    # Made here it would hide that the file system is not mounted.
    if not directory.is_dir():
        raise EnvironmentUnavailable(f"EVERLOOP_VOLUMES_DIR: {directory} is not a directory")
    path = directory / ID_FILE
    fresh = directory / f"{ID_FILE}.{uuid.uuid4().hex}"
    try:
        if not path.exists():
            fresh.write_text(uuid.uuid4().hex)
            try:
                # Unlike a rename, of two at once only the first succeeds.
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        with path.open("rb") as file:
            found = file.read(ID_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise EnvironmentUnavailable(f"EVERLOOP_VOLUMES_DIR: {error}") from None
    if not is_id(found):
        raise EnvironmentUnavailable(f"EVERLOOP_VOLUMES_DIR: {path} does not hold an id")
    return found


def is_id(text: str) -> bool:
    """Whether a text is the id of a place of volumes."""
    return text.isalnum() and len(text) == 32
