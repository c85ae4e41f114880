"""File lock on this machine. The kernel releases it when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncd.errors import Conflict, Invalid


@contextmanager
def locked_file(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock inside the block, and write this process's id into the file for people to see.

    The file stays: removing it would let two processes lock two files of one name. Works between threads as well.
    A child of a fork holds its parent's lock until it execs or ends.

    Raises:
        Conflict: Another process holds it, and `wait` is false; the message has its process id.
        Invalid: The file cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}", hint="check the directory of the database and its owner") from error
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
