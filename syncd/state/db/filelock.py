"""File lock on this machine. The kernel releases it when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from syncd.errors import Conflict, Invalid

_CONTENT_BYTES_MAX: Final = 32
_CONTENT: Final = re.compile(rb"[0-9]{0,20}\n?")  # a process id, or nothing yet; a hard link may lead to anything else


@contextmanager
def locked_file(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock inside the block, and write this process's id into the file for people to see.

    The file stays: removing it would let two processes lock two files of one name. Works between threads as well.
    A child of a fork holds its parent's lock until it execs or ends.

    Raises:
        Conflict: Another process holds it, and `wait` is false; the message has its process id.
        Invalid: The file cannot be created, is a link, or is another program's file.
    """
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Conflict(f"{path} is locked by process {holder}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """A descriptor of a lock file. Who may write beside it could lay a link there, to a file that is then emptied."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Invalid(f"{path} is a symbolic link, not a lock file", hint=f"remove it: rm {path}") from error
        raise Invalid(f"{path}: {error.strerror}", hint="check the directory of the database and its owner") from error
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if not is_file or not _CONTENT.fullmatch(os.pread(descriptor, _CONTENT_BYTES_MAX + 1, 0)):
        os.close(descriptor)
        raise Invalid(f"{path} is not a lock file of syncd", hint="move it elsewhere")
    return descriptor
