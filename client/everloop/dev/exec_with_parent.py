"""Become another program that the kernel ends when the parent process ends.

Run as a script, by path, so that nothing but the standard library is imported:
`python -I -S exec_with_parent.py PARENT_PID SIGNAL PROGRAM [ARGUMENT...]`. The process id stays
the same. The wish survives `execve`; the kernel fulfils it when the *thread* that forked us ends,
so the parent forks from its main thread. Only Linux has it; elsewhere the program just runs.
"""

import ctypes
import os
import sys

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, make sure that the parent still lives, and run the program."""
    parent, signal, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
        # A parent that ended before the call would never be noticed.
        if os.getppid() != parent:
            sys.exit("the parent process has ended")
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
