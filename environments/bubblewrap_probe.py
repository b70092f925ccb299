"""Why sandboxes cannot run on this machine, and how to mend it.

Nothing ever runs unsandboxed instead.
"""

import os
import shutil
from pathlib import Path

from contracts.errors import EnvironmentUnavailable
from environments.agentd_seccomp import UnknownMachine, program

#: Beside bwrap, what a start as root goes through; all but `sh` belong to util-linux.
_ROOT_PROGRAMS = ("unshare", "mount", "setpriv", "sh")

_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
_MAXIMUM = Path("/proc/sys/user/max_user_namespaces")
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def require_programs() -> None:
    """See that the programs are there.

    Raises:
        EnvironmentUnavailable: one is not; the message says how to install it.
    """
    if shutil.which("bwrap") is None:
        raise EnvironmentUnavailable(
            "bubblewrap is not installed, and commands never run without a sandbox. "
            "Install it and start again: apt-get install bubblewrap (or dnf, pacman, apk add)"
        )
    for name in _ROOT_PROGRAMS if os.geteuid() == 0 else ():
        if shutil.which(name) is None:
            raise EnvironmentUnavailable(
                f"{name} is not installed. Install it and start again: apt-get install util-linux"
            )


def system_call_filter() -> bytes:
    """What bwrap is given to refuse system calls.

    Raises:
        EnvironmentUnavailable: this architecture is not known.
    """
    try:
        return program()
    except UnknownMachine as error:
        raise EnvironmentUnavailable(str(error)) from None


def explain(complaint: str) -> str:
    """Say what a failed start means.

    Args:
        complaint: what bwrap wrote.

    Returns:
        A message with the reason and, where it is known, the fix.
    """
    reason = complaint or "no reason given"
    return f"bubblewrap cannot start a sandbox here ({reason}). {_fix(complaint)}"


def _fix(complaint: str) -> str:
    if "nknown option" in complaint:
        return "bubblewrap 0.8 or newer is needed; this one is older"
    if "execvp python3" in complaint:
        return "Python 3.9 or newer must be installed below /usr: apt-get install python3"
    if _value(_APPARMOR) == "1":
        return (
            "AppArmor keeps programs from making user namespaces: install its profile for bwrap "
            "(apt-get install apparmor-profiles; ln -s "
            "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/; "
            "systemctl reload apparmor)"
        )
    if _value(_CLONE) == "0":
        return "User namespaces are switched off: sysctl -w kernel.unprivileged_userns_clone=1"
    if _value(_MAXIMUM) == "0":
        return "User namespaces are switched off: sysctl -w user.max_user_namespaces=10000"
    if any(mark.exists() for mark in _CONTAINER_MARKS):
        return (
            "This process runs in a container whose profile refuses user namespaces or mounts: run "
            "the sandbox host outside of it, or start the container with "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined"
        )
    return "bwrap must be able to make user namespaces and mounts on this machine"


def _value(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None
