"""The files that a fork begins with: copied beside its volume first, and put in its place later.

Copying happens before the fork is there, so that it may fail or take long; the last step is a
rename, and happens once, whoever dies meanwhile. Blocking; for a thread.
"""

import os
import shutil
import tempfile
import uuid
from pathlib import Path

from contracts.errors import AwsError, EnvironmentUnavailable, ServiceError, invalid
from environments import snapshots
from environments.agentd_archive import pack, unpack
from environments.agentd_beneath import VolumeError
from environments.provider import Reference
from environments.session_volume import service_error
from environments.volumes import beside, replace_volume


def stage(origin: Path, target: Path, user: int, staged: str, snapshot_id: str | None) -> None:
    """Copy a session's files, or a snapshot of them, beside another session's volume. Idempotent.

    Args:
        origin: the volume of the session that is forked.
        target: the fork's volume.
        user: who owns it.
        staged: names the copy.
        snapshot_id: the snapshot; the files as they are now when None.

    Raises:
        ServiceError: ResourceNotFoundException, there is no such snapshot;
            ServiceQuotaExceededException, there is too much or the disk is full;
            ValidationException, the snapshot is damaged, or volumes are disk images.
    """
    place = _staged(target, staged)
    if place.exists():
        return
    if os.path.ismount(target) or os.path.ismount(origin):
        raise invalid("files", "files on a disk image (EVERLOOP_VOLUME_IMAGES) stay there")
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.parent.glob("copying-*"):
        shutil.rmtree(left, ignore_errors=True)
    if snapshot_id is not None:
        with snapshots.unpacked(origin, user, snapshot_id) as fresh:
            fresh.rename(place)
        return
    fresh = place.parent / f"copying-{uuid.uuid4().hex}"
    fresh.mkdir(mode=0o700)
    try:
        with tempfile.TemporaryFile(dir=place.parent) as archive:
            pack(origin, archive)
            archive.seek(0)
            unpack(archive, fresh, user)
        if os.geteuid() == 0:
            os.chown(fresh, user, user)
        fresh.rename(place)
    except VolumeError as error:
        raise service_error(error) from error
    except OSError as error:
        raise ServiceError(
            AwsError.QUOTA, f"The files could not be copied: {error.strerror}."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def begin(target: Path | None, reference: Reference) -> None:
    """Give a fork the files that it begins with, as its record says. Idempotent.

    Raises:
        EnvironmentUnavailable: they are gone, or its volume is not on this machine.
    """
    if target is None:
        raise EnvironmentUnavailable("the fork's files are not on the sandbox host")
    put_in_place(target, str(reference["staged"]))


def put_in_place(target: Path, staged: str) -> None:
    """Make a copy the fork's volume. Idempotent.

    Raises:
        EnvironmentUnavailable: the copy is gone.
    """
    place, begun = _staged(target, staged), beside(target) / f"begun-{staged}"
    if place.exists():
        # The mark first: without the copy it says that the copy has become the volume.
        begun.touch(mode=0o600)
        replace_volume(place, target)
    elif not begun.exists():
        raise EnvironmentUnavailable(
            "the files that this fork was to begin with are gone; fork the session again"
        )


def drop(target: Path, staged: str) -> None:
    """Remove a copy whose fork was refused. Idempotent."""
    shutil.rmtree(_staged(target, staged), ignore_errors=True)


def _staged(target: Path, staged: str) -> Path:
    return beside(target) / f"fork-{staged}"
