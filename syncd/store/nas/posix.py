"""Descriptors of a mounted file system, followed through no symlink, and what each errno means to the caller."""

from __future__ import annotations

import contextlib
import errno
import os
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from syncd.artifact.digest import crc64 as crc64_of
from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.store.base import Buffer
from syncd.watchdog import mark_progress, note_activity

_WRITE_BYTES: Final = 1 << 20  # at once, so that a slow mount is seen to move
_READ_BYTES: Final = 1 << 20  # read back in pieces that stay in the CPU's cache
_SMALL_BYTES: Final = 4096
_NO_COPY: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})  # the kernel's "not here"
_SYMLINK: Final = "a symlink or a file is where a directory must be; syncd follows no symlinks below its root"
_MEANING: Final[dict[int, tuple[type[SyncdError], str]]] = {
    errno.ENOENT: (NotFound, ""),
    errno.EEXIST: (Conflict, ""),
    errno.EISDIR: (Conflict, "a directory is where the file must be"),
    errno.ENOTEMPTY: (Conflict, ""),
    errno.ELOOP: (Refused, _SYMLINK),
    errno.ENOTDIR: (Refused, _SYMLINK),
    errno.EMLINK: (Refused, _SYMLINK),
    # Handled as an outage: space is freed, or the server becomes writable again.
    errno.ENOSPC: (Unavailable, "the file system is full; make room: remove versions that nothing serves"),
    errno.EDQUOT: (Unavailable, "the quota is used up; raise it, or remove versions that nothing serves"),
    errno.EROFS: (Unavailable, "the file system is read-only; mount it read-write on the worker of this target"),
    errno.EFBIG: (Refused, "the file system or a limit of this process refuses files of this size"),
    errno.EACCES: (Refused, "give the user that runs syncd write permission below the root"),
    errno.EPERM: (Refused, "the file system must allow hard links, and writing by the user that runs syncd"),
    errno.EOPNOTSUPP: (Refused, "the file system must allow hard links"),
    errno.ENAMETOOLONG: (Invalid, "a part of the name is longer than the file system allows"),
    errno.EINVAL: (Invalid, ""),
    errno.EILSEQ: (Invalid, "the file system does not allow this name"),
    errno.ESTALE: (Unavailable, "the NFS handle went stale; if it stays so, mount the file system again"),
    errno.EIO: (Unavailable, "the file system reports an I/O error; see the kernel's log"),
    errno.ETIMEDOUT: (Unavailable, "the NFS server does not answer"),
    errno.EHOSTDOWN: (Unavailable, "the NFS server does not answer"),
    errno.EHOSTUNREACH: (Unavailable, "the NFS server does not answer"),
    errno.ENOTCONN: (Unavailable, "the mount is disconnected; mount it again"),
    errno.EMFILE: (Unavailable, "too many open files: raise LimitNOFILE"),
    errno.ENFILE: (Unavailable, "too many open files on this machine"),
}


def translate(error: OSError, where: str) -> SyncdError:
    """The error to raise from `error`. An errno that is not in the table is Unavailable: nothing is known."""
    kind, hint = _MEANING.get(error.errno or 0, (Unavailable, ""))
    reason = os.strerror(error.errno) if error.errno else str(error)
    return kind(f"{where}: {reason}", hint=hint)


@contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """Whatever the file system says inside becomes one of ours, and stays in `__cause__`."""
    mark_progress()
    try:
        yield
    except OSError as error:
        raise translate(error, where) from error


def open_file(directory: int, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A descriptor of a file in `directory`."""
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)


def create_file(directory: int, name: str, content: bytes, mode: int) -> None:
    """A new file with exactly this mode: its readers are other users, so the umask is ignored."""
    descriptor = open_file(directory, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def open_directory(parent: int, name: str, create_mode: int | None) -> int:
    """A descriptor of a directory in `parent`, made durably first if it is missing and a mode is given."""
    if create_mode is not None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, create_mode, dir_fd=parent)
            os.chmod(name, create_mode, dir_fd=parent)
            os.fsync(parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def remove(directory: int, name: str) -> None:
    """Unlink; what is not there is success."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def rename(directory: int, name: str, to: str) -> bool:
    """Rename a file. Returns whether it was there: of several callers, one succeeds."""
    try:
        os.rename(name, to, src_dir_fd=directory, dst_dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def read_file(directory: int, name: str) -> tuple[bytes, datetime]:
    """The beginning of a small file, and when it was written."""
    descriptor = open_file(directory, name)
    try:
        return os.read(descriptor, _SMALL_BYTES), datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
    finally:
        os.close(descriptor)


def link(source: tuple[int, str], final: tuple[int, str]) -> None:
    """Give a file a second name, replacing nothing.

    NFS may lose the answer to a link and find it done when it asks again: EEXIST with our own inode behind it
    is success.
    """
    try:
        os.link(source[1], final[1], src_dir_fd=source[0], dst_dir_fd=final[0], follow_symlinks=False)
    except FileExistsError:
        ours = os.stat(source[1], dir_fd=source[0], follow_symlinks=False)
        there = os.stat(final[1], dir_fd=final[0], follow_symlinks=False)
        if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
            raise


def names(directory: int) -> list[str]:
    """What is in a directory, in order."""
    return sorted(os.listdir(directory))


def entries(directory: int) -> list[tuple[str, os.stat_result]]:
    """What is in a directory, in order; what vanishes meanwhile is left out."""
    found = []
    for name in names(directory):
        with contextlib.suppress(FileNotFoundError):
            found.append((name, os.stat(name, dir_fd=directory, follow_symlinks=False)))
    return found


def is_file(found: os.stat_result) -> bool:
    return modes.S_ISREG(found.st_mode)


def is_directory(found: os.stat_result) -> bool:
    return modes.S_ISDIR(found.st_mode)


def is_symlink(found: os.stat_result) -> bool:
    return modes.S_ISLNK(found.st_mode)


def crc64_of_region(descriptor: int, offset_bytes: int, size_bytes: int) -> tuple[int, int]:
    """The CRC of a region of a file, and how many bytes of it there are."""
    buffer = memoryview(bytearray(min(_READ_BYTES, max(size_bytes, 1))))
    crc64 = read_bytes = 0
    while read_bytes < size_bytes:
        piece = buffer[: size_bytes - read_bytes]
        count = os.preadv(descriptor, [piece], offset_bytes + read_bytes)
        if not count:
            break
        note_activity()
        crc64, read_bytes = crc64_of(piece[:count], crc64), read_bytes + count
    return crc64, read_bytes


def write_region(descriptor: int, offset_bytes: int, data: Buffer) -> None:
    """Write all of `data` at an offset."""
    rest = memoryview(data)
    while rest:
        note_activity()
        written = os.pwrite(descriptor, rest[:_WRITE_BYTES], offset_bytes)
        rest, offset_bytes = rest[written:], offset_bytes + written


def copy_region(source: tuple[int, int], to: tuple[int, int], size_bytes: int) -> None:
    """Copy bytes from one descriptor and offset to another, and stop early where the source ends.

    The file server does it, or the file system shares the blocks; where neither can, the bytes pass through here.
    """
    copied_bytes, is_able = 0, True
    while copied_bytes < size_bytes:
        places = (source[0], to[0], size_bytes - copied_bytes, source[1] + copied_bytes, to[1] + copied_bytes)
        count = _copied_inside(*places) if is_able else _copied_through(*places)
        if not count and not is_able:
            return
        is_able = is_able and count > 0  # some file systems say 0 where they mean that they cannot
        copied_bytes += count
        note_activity()


def _copied_inside(source: int, to: int, size_bytes: int, source_offset_bytes: int, offset_bytes: int) -> int:
    try:
        return os.copy_file_range(source, to, size_bytes, source_offset_bytes, offset_bytes)
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
        return 0


def _copied_through(source: int, to: int, size_bytes: int, source_offset_bytes: int, offset_bytes: int) -> int:
    data = os.pread(source, min(size_bytes, _READ_BYTES), source_offset_bytes)
    write_region(to, offset_bytes, data)
    return len(data)


class FileStream:
    """The bytes of one file, from where its descriptor stands; the descriptor is closed with it."""

    def __init__(self, descriptor: int, place: str) -> None:
        self.descriptor: Final = descriptor
        self._place = place

    def readinto(self, buffer: memoryview) -> int:
        with translate_errors(self._place):
            return os.readv(self.descriptor, [buffer])

    def __enter__(self) -> FileStream:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.descriptor)
