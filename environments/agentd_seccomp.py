"""The system calls that commands may not make, as a classic BPF program.

A list of what is refused, as Docker's and Flatpak's: kernel interfaces that a command has no use
for and that most kernel exploits went through. Built here so that libseccomp need not be installed.
Numbers are those of `asm/unistd_64.h` and `asm-generic/unistd.h`. A bubblewrap sandbox gets it by
`bwrap --seccomp`; in a container agentd's starter installs it, beside the engine's own.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from typing import TYPE_CHECKING

#: name: (x86_64, aarch64); None where the architecture has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_IOCTL = (16, 29)
_SOCKET = (41, 198)

#: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64.
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
#: Calls of the x32 ABI carry this bit and would pass by every number above.
_X32_BIT = 0x40000000
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NAMESPACES = 0x7E020000
#: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK.
_FAMILIES = (1, 2, 10, 16)
#: TIOCSTI and TIOCLINUX put characters into a terminal's input.
_TERMINAL_INPUT = (0x5412, 0x541C)

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
#: Offsets in `struct seccomp_data`; of arguments the low half, both architectures being little-
#: endian.
_NUMBER, _ARCHITECTURE, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24

#: `struct sock_filter`.
_LINE = struct.Struct("<HBBI")
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]


class UnknownMachine(Exception):
    """The numbers of this architecture's system calls are not known here."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_char_p)]


def install() -> None:
    """Have it hold for this process and all that come from it; they can get no new privileges.

    Raises:
        OSError: the kernel does not take it.
        UnknownMachine: this architecture is not known.
    """
    lines = program()
    filled = _Program(len(lines) // _LINE.size, lines)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filled), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the seccomp filter could not be installed")


def program(machine: str | None = None) -> bytes:
    """Build the filter.

    Args:
        machine: as `platform.machine()` names it; this machine when omitted.

    Returns:
        An array of `struct sock_filter`.

    Raises:
        UnknownMachine: the numbers of this architecture are not known here.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise UnknownMachine(
            f"local environments are not supported on {machine}: only on x86_64 and aarch64"
        )
    column, audit = _ARCHITECTURES[machine]
    lines: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, audit),
        _refuse(errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32_BIT),
        _refuse(errno.ENOSYS),
    ]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            lines += [(_EQUAL, 0, 1, number), _refuse(errno.EPERM)]
    # Its flags are behind a pointer that a filter cannot follow; libc then falls back to clone.
    lines += [(_EQUAL, 0, 1, _CLONE3[column]), _refuse(errno.ENOSYS)]
    lines += _if_call(
        _CLONE[column],
        [(_LOAD, 0, 0, _ARGUMENT_0), (_ANY_BIT, 0, 1, _NAMESPACES), _refuse(errno.EPERM)],
    )
    terminal = [(_LOAD, 0, 0, _ARGUMENT_1)]
    for request in _TERMINAL_INPUT:
        terminal += [(_EQUAL, 0, 1, request), _refuse(errno.EPERM)]
    lines += _if_call(_IOCTL[column], terminal)
    families: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENT_0)]
    for family in _FAMILIES:
        families += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    lines += _if_call(_SOCKET[column], [*families, _refuse(errno.EAFNOSUPPORT)])
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(_LINE.pack(*line) for line in lines)


def _refuse(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)


def _if_call(number: int, then: list[Instruction]) -> list[Instruction]:
    """What falls through `then` is allowed."""
    return [(_EQUAL, 0, len(then) + 1, number), *then, (_RETURN, 0, 0, _ALLOW)]
