"""The first program of every function process: it ties its life to the server's and becomes the function.

Run as `python -I -S launch.py PARENT_PID PROGRAM ARGS…`. Standard library only, since it is started once
for each instance and must be quick.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Die with the parent, then be the program. Exits 127 when there is no such program."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the program is what the function's own image names
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
