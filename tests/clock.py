"""Start a program with its wall clock shifted: `python tests/clock.py +3d PROGRAM [ARGUMENT...]`.

The program keeps this process's id and runs at full speed, whatever language it is written in. A
helper traces the process over its exec, writes stubs over the functions of the new program's vDSO
that read the wall clock, and lets go. A stub makes the system call and adds the shift. Only the
program itself is shifted: neither what it executes in turn, nor a system call that it makes
without the vDSO, nor times that the kernel writes, such as those of files. Clocks that count from
boot stay as they are.
"""

import ctypes
import os
import platform
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: From <linux/ptrace.h>, <linux/prctl.h>, <linux/wait.h>, <linux/auxvec.h> and <elf.h>.
PTRACE_CONT, PTRACE_DETACH, PTRACE_SEIZE = 7, 17, 0x4206
PTRACE_O_TRACEEXEC, PTRACE_O_EXITKILL, PTRACE_EVENT_EXEC = 1 << 4, 1 << 20, 4
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, 2**64 - 1
WALL = 0x40000000
AT_SYSINFO_EHDR = 33
SHT_DYNSYM = 11

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class NotShifted(Exception):
    """The clock cannot be shifted; the message says why."""


def missing() -> str | None:
    """Why no clock can be shifted on this machine; None when one can, which is tried."""
    if sys.platform != "linux":
        return f"clocks are shifted on Linux, not on {sys.platform}"
    tried = subprocess.run(
        command("+1d", (sys.executable, "-I", "-S", "-c", "")), capture_output=True, check=False
    )
    return tried.stderr.decode().strip() if tried.returncode else None


def command(shift: str, argv: Sequence[str]) -> tuple[str, ...]:
    """The command line that starts a program so.

    Args:
        shift: as `seconds` reads it.
        argv: the program, by absolute path, and its arguments.
    """
    return (sys.executable, "-I", "-S", __file__, shift, *argv)


def seconds(shift: str) -> int:
    """What `+3d`, `-90s` or `+1d12h` is in seconds.

    Raises:
        NotShifted: it is no such shift.
    """
    if not re.fullmatch(r"[+-](\d{1,6}[smhdw])+", shift):
        raise NotShifted(f"a shift is like +3d, -90s or +1d12h, in s, m, h, d, w; not {shift!r}")
    total = sum(int(n) * SECONDS[unit] for n, unit in re.findall(r"(\d+)([smhdw])", shift))
    return -total if shift.startswith("-") else total


def become(shift_s: int, argv: Sequence[str]) -> None:
    """Turn this process into the program; it has one thread. Never returns.

    Raises:
        NotShifted: nobody may trace this process.
        OSError: the program cannot be executed.
    """
    if platform.machine() != "x86_64":
        raise NotShifted(f"the stubs are for x86_64, not {platform.machine()}")
    # Where only ancestors may trace, this names the helper, which is none.
    _libc().prctl(PR_SET_PTRACER, ctypes.c_ulong(PR_SET_PTRACER_ANY), 0, 0, 0)
    target = os.getpid()
    heard, told = os.pipe()
    first = os.fork()
    if first == 0:
        # Forked twice: the program must not find a child that it has not started.
        if os.fork() == 0:
            os.close(heard)
            _shift_at_exec(target, shift_s, told)
        os._exit(0)
    os.waitpid(first, 0)
    os.close(told)
    said = os.read(heard, 200).decode()
    if said != "ready":
        raise NotShifted(said or "the helper died")
    os.execv(argv[0], list(argv))


def _shift_at_exec(target: int, shift_s: int, told: int) -> None:
    """As the helper: wait until the target executes its program, and shift that."""
    try:
        _ptrace(PTRACE_SEIZE, target, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)
    except OSError as error:
        os.write(told, f"this process cannot be traced: {error.strerror}".encode())
        os._exit(1)
    os.write(told, b"ready")
    os.close(told)
    while True:
        _, status = os.waitpid(target, WALL)
        if not os.WIFSTOPPED(status):
            os._exit(0)
        if status >> 8 == signal.SIGTRAP | PTRACE_EVENT_EXEC << 8:
            break
        stopped_by = 0 if status >> 16 else os.WSTOPSIG(status)
        _ptrace(PTRACE_CONT, target, stopped_by)
    try:
        _write_stubs(target, shift_s)
    except (NotShifted, OSError) as error:
        # A program with the wrong clock must not run.
        os.write(2, f"clock: {error}\n".encode())
        os.kill(target, signal.SIGKILL)
        os._exit(1)
    _ptrace(PTRACE_DETACH, target, 0)
    os._exit(0)


def _write_stubs(target: int, shift_s: int) -> None:
    base = _vdso_address(target)
    with Path(f"/proc/{target}/mem").open("r+b", buffering=0) as memory:
        functions = _functions(_image(target, base, memory.fileno()))
        room, size = functions["__vdso_clock_gettime"]
        at = room
        for name, stub in _stubs(shift_s).items():
            if at + len(stub) > room + size:
                raise NotShifted(f"the stubs do not fit into the {size} bytes of the vDSO's")
            os.pwrite(memory.fileno(), stub, base + at)
            entry, _ = functions[name]
            if entry != at:
                jump = b"\xe9" + struct.pack("<i", at - (entry + 5))
                os.pwrite(memory.fileno(), jump, base + entry)
            at += len(stub)


def _vdso_address(target: int) -> int:
    auxv = Path(f"/proc/{target}/auxv").read_bytes()
    for key, value in struct.iter_unpack("<QQ", auxv):
        if key == AT_SYSINFO_EHDR:
            return value
    raise NotShifted("the program has no vDSO")


def _image(target: int, base: int, memory: int) -> bytes:
    for line in Path(f"/proc/{target}/maps").read_text().splitlines():
        start, end = (int(each, 16) for each in line.split()[0].split("-"))
        if start == base:
            return os.pread(memory, end - start, base)
    raise NotShifted("the vDSO is not mapped")


def _functions(image: bytes) -> dict[str, tuple[int, int]]:
    """Offset and size, in bytes, of each function that an ELF image of 64 bits exports."""
    if image[:5] != b"\x7fELF\x02":
        raise NotShifted("the program is not of 64 bits")
    (table,) = struct.unpack_from("<Q", image, 40)
    entry_size, count = struct.unpack_from("<HH", image, 58)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", image, table + n * entry_size) for n in range(count)
    ]
    found: dict[str, tuple[int, int]] = {}
    for section in sections:
        if section[1] != SHT_DYNSYM:
            continue
        offset, size, names = section[4], section[5], sections[section[6]][4]
        for at in range(offset, offset + size, 24):
            name, _, _, _, value, length = struct.unpack_from("<IBBHQQ", image, at)
            end = image.index(b"\0", names + name)
            found[image[names + name : end].decode()] = (value, length)
    return found


def _stubs(shift_s: int) -> dict[str, bytes]:
    """Machine code for x86_64; r11 and rcx are the system call's to spoil, and the caller's."""
    load_shift = b"\x49\xbb" + struct.pack("<q", shift_s)  # movabs r11, shift
    return {
        # CLOCK_REALTIME is 0, CLOCK_REALTIME_COARSE is 5.
        "__vdso_clock_gettime": (
            b"\xb8\xe4\x00\x00\x00\x0f\x05"  # eax = 228; syscall
            b"\x85\xc0\x75\x16"  # if eax != 0: return
            b"\x85\xff\x74\x05"  # if edi != 0
            b"\x83\xff\x05\x75\x0d"  # and edi != 5: return
            + load_shift
            + b"\x4c\x01\x1e\xc3"  # [rsi] += r11; return
        ),
        "__vdso_gettimeofday": (
            b"\xb8\x60\x00\x00\x00\x0f\x05"  # eax = 96; syscall
            b"\x85\xc0\x75\x12"  # if eax != 0: return
            b"\x48\x85\xff\x74\x0d"  # if rdi == 0: return
            + load_shift
            + b"\x4c\x01\x1f\xc3"  # [rdi] += r11; return
        ),
        "__vdso_time": (
            b"\xb8\xc9\x00\x00\x00\x0f\x05"  # eax = 201; syscall
            + load_shift
            + b"\x4c\x01\xd8"  # rax += r11
            b"\x48\x85\xff\x74\x03\x48\x89\x07\xc3"  # if rdi != 0: [rdi] = rax; return
        ),
    }


def _ptrace(request: int, target: int, data: int) -> None:
    libc = _libc()
    if libc.ptrace(request, target, None, ctypes.c_void_p(data)) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    return libc


def main() -> None:
    """Be the program that the command line names, with its clock shifted."""
    if len(sys.argv) < 3:
        sys.exit(f"usage: {Path(__file__).name} SHIFT PROGRAM [ARGUMENT...]")
    try:
        become(seconds(sys.argv[1]), sys.argv[2:])
    except NotShifted as error:
        sys.exit(f"clock: {error}")
    except OSError as error:
        sys.exit(f"clock: {sys.argv[2]}: {error.strerror}")


if __name__ == "__main__":
    main()
