"""The filter, run by a small interpreter of classic BPF; the kernel runs it in test_isolation."""

import errno
import struct

import pytest

from environments.agentd_seccomp import UnknownMachine, program

ALLOW = 0x7FFF0000
X86, ARM = ("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)


def verdict(machine: tuple[str, int], number: int, *arguments: int) -> int:
    code = program(machine[0])
    padded = (*arguments, *[0] * 6)[:6]
    data = struct.pack("<IIQ6Q", number, machine[1], 0, *padded)
    at = accumulator = 0
    while True:
        operation, if_true, if_false, k = struct.unpack_from("<HBBI", code, at * 8)
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x06:
            return k
        else:
            true = {
                0x15: accumulator == k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[operation]
            at += if_true if true else if_false


def refused(error: int) -> int:
    return 0x00050000 | error


@pytest.mark.parametrize(
    ("machine", "unshare", "clone", "clone3", "socket", "ioctl", "read"),
    [(X86, 272, 56, 435, 41, 16, 0), (ARM, 97, 220, 435, 198, 29, 63)],
)
def test_refuses_what_a_command_has_no_use_for(
    machine: tuple[str, int],
    unshare: int,
    clone: int,
    clone3: int,
    socket: int,
    ioctl: int,
    read: int,
) -> None:
    assert verdict(machine, read) == ALLOW
    assert verdict(machine, unshare) == refused(errno.EPERM)
    assert verdict(machine, clone3) == refused(errno.ENOSYS)
    assert verdict(machine, clone, 0x00010F00) == ALLOW
    assert verdict(machine, clone, 0x10000011) == refused(errno.EPERM)
    assert [verdict(machine, socket, family) == ALLOW for family in (1, 2, 10, 16)] == [True] * 4
    assert verdict(machine, socket, 38) == refused(errno.EAFNOSUPPORT)
    assert verdict(machine, ioctl, 0, 0x5401) == ALLOW
    assert verdict(machine, ioctl, 0, 0x5412) == refused(errno.EPERM)


def test_refuses_other_architectures_and_the_x32_abi() -> None:
    assert verdict(("x86_64", 0x40000003), 0) == refused(errno.ENOSYS)
    assert verdict(X86, 0x40000000 + 1) == refused(errno.ENOSYS)
    with pytest.raises(UnknownMachine, match="riscv64"):
        program("riscv64")
