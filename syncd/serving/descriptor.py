"""Descriptor: reads ranges of one file into memory, around the page cache where the mount allows it.

Reads with O_DIRECT are not cut into the 128 KiB of the kernel's readahead, and leave nothing in the page cache. They
need aligned offsets, sizes and memory: the last block of a file is asked for whole, and comes short.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .arena import PAGE_BYTES
from .errors import UnreadableMount, WrongBytes

_REFUSALS = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY}


class Descriptor:
    """One open file. For one thread. `direct` says whether O_DIRECT is in use, and is False once a read refused it."""

    def __init__(self, path: Path, *, direct: bool) -> None:
        self._path = path
        self.direct = direct and hasattr(os, "O_DIRECT")
        self._fd = self._open()

    def read_into(self, memory: memoryview, offset: int, size_bytes: int) -> None:
        """Read a range into the start of `memory`, which has room up to the next page.

        Raises:
            WrongBytes: The file ends before.
            UnreadableMount: The mount failed the read.
        """
        done = 0
        while done < size_bytes:
            got = self._read_once(memory, offset, done, size_bytes)
            if got == 0:
                raise WrongBytes(f"{self._path}: ends at {offset + done}, expected {offset + size_bytes} bytes")
            done += got

    def close(self) -> None:
        os.close(self._fd)

    def _read_once(self, memory: memoryview, offset: int, done: int, size_bytes: int) -> int:
        begin, left = offset + done, size_bytes - done
        with _explained(self._path, begin):
            if self.direct and begin % PAGE_BYTES == 0:
                try:
                    whole = -(-left // PAGE_BYTES) * PAGE_BYTES
                    return min(left, os.preadv(self._fd, [memory[done : done + whole]], begin))
                except OSError as error:
                    if error.errno not in _REFUSALS:
                        raise
            if self.direct:  # refused, or a short read has left an offset that is not aligned
                self._reopen()
            got = os.preadv(self._fd, [memory[done : done + left]], begin)
            os.posix_fadvise(self._fd, begin, got, os.POSIX_FADV_DONTNEED)
            return got

    def _open(self) -> int:
        with _explained(self._path, 0):
            if self.direct:
                try:
                    return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
                except OSError as error:
                    if error.errno not in _REFUSALS:
                        raise
                    self.direct = False
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def _reopen(self) -> None:
        os.close(self._fd)
        self.direct = False
        self._fd = self._open()


@contextmanager
def _explained(path: Path, offset: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableMount(f"{path}: at {offset}: {error.strerror}") from error
