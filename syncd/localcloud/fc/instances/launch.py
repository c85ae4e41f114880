"""Launcher of every function process: binds its lifetime to the server's, then executes the function's program.

Run as `python -I -S launch.py PARENT_PID PROGRAM ARGS…`. Standard library only: it starts once for each
instance and must be fast.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Die with the parent, and execute the program. Exits 127 when the program does not exist."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before prctl took effect
        os._exit(1)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the program is what the function's own image names
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
