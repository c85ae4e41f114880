"""Read access to directories of other writers: links are not followed, absence is proven."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.registry.settings import DEFAULT_LIMITS, Limits

_IGNORED_ENDS: Final = (".tmp", ".part", ".partial", ".crdownload", ".incomplete", "~")
# aria2 gives a file its full size at once and its name as well; until this file beside it is gone it has holes.
_CONTROL_END: Final = ".aria2"
_DOWNLOAD_HINT: Final = "let the download end, or remove both files"
_IGNORED_STARTS: Final = ".nfs"  # what an NFS client calls a file that is deleted while open
_IGNORED_FILES: Final = frozenset({".DS_Store"})
_IGNORED_DIRECTORIES: Final = frozenset({"lost+found", "__pycache__"})  # and every hidden one: .git, .cache, …


@dataclass(frozen=True, slots=True)
class FoundFile:
    """An entry of a tree; `path` is relative to it. `refusal` says what it is where it is not a regular file."""

    path: str
    size_bytes: int
    mtime_ns: int
    refusal: str = ""


def translate_errors(error: OSError, what: str) -> SyncdError:
    """The syncd error for a failed read of `what`: only ENOENT and ENOTDIR prove that it does not exist."""
    reason = f"{what}: {error.strerror}"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(reason)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Refused(reason, hint="give the user that syncd runs as read permission")
    if error.errno in {errno.ELOOP, errno.ENAMETOOLONG}:
        return Invalid(reason)
    return Unavailable(reason)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Translate the system's errors about `what`."""
    try:
        yield
    except OSError as error:
        raise translate_errors(error, what) from error


def is_ignored(name: str, *, directory: bool) -> bool:
    """Whether writers leave such names behind, or systems keep such files."""
    if directory and (name.startswith(".") or name in _IGNORED_DIRECTORIES):
        return True
    return name in _IGNORED_FILES or name.endswith(_IGNORED_ENDS) or name.startswith(_IGNORED_STARTS)


def downloading(name: str) -> str:
    """The file that a download tool still writes, by the name of its control file beside it; "" if it is not one."""
    return name.removesuffix(_CONTROL_END) if name.endswith(_CONTROL_END) else ""


def directories(parent: Path) -> list[str]:
    """The names of the directories in `parent`, without symbolic links."""
    with reading(str(parent)), os.scandir(parent) as entries:
        return sorted(
            e.name for e in entries if e.is_dir(follow_symlinks=False) and not is_ignored(e.name, directory=True)
        )


def check_no_links(root: Path, relative: str) -> None:
    """Raises Invalid if a part of `relative` below `root` is a symbolic link, NotFound if it does not exist."""
    place = root
    for part in relative.split("/"):
        place /= part
        with reading(str(place)):
            mode = place.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise Invalid(f"{place} is a symbolic link", hint="put the directory itself there: links are not followed")
        if not stat.S_ISDIR(mode):
            raise NotFound(f"{place} is not a directory")


def scan(top: Path, keep: frozenset[str], limits: Limits = DEFAULT_LIMITS) -> list[FoundFile]:
    """Every entry below `top` but directories, names as they are.

    Ignored ones are left out unless `keep` has them, or something below them.

    Raises:
        Invalid: There are more than the limit.
        Unavailable: The tree changed during the scan.
    """
    kept = keep | {path[:at] for path in keep for at, letter in enumerate(path) if letter == "/"}
    found: list[FoundFile] = []
    todo = [""]
    while todo:
        directory = todo.pop()
        try:
            with os.scandir(top / directory) as entries:
                for entry in entries:
                    _take(entry, directory, kept, found, todo)
                    limits.check_count(len(found) + len(todo), str(top))
        except OSError as error:
            raise _while_scanning(error, top / directory) from error
    return found


def _take(
    entry: os.DirEntry[str], directory: str, kept: frozenset[str], found: list[FoundFile], todo: list[str]
) -> None:
    path = f"{directory}/{entry.name}" if directory else entry.name
    is_directory = entry.is_dir(follow_symlinks=False)
    if path not in kept and is_ignored(entry.name, directory=is_directory):
        return
    if is_directory:
        todo.append(path)
        return
    if path not in kept and (unfinished := downloading(path)):
        raise Unavailable(f"{unfinished!r} is still being downloaded: {path!r} is beside it", hint=_DOWNLOAD_HINT)
    status = entry.stat(follow_symlinks=False)
    refusal = ""
    if not stat.S_ISREG(status.st_mode):
        refusal = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "neither a file nor a directory"
    found.append(FoundFile(path, status.st_size, status.st_mtime_ns, refusal))


def _while_scanning(error: OSError, directory: Path) -> SyncdError:
    translated = translate_errors(error, str(directory))
    if isinstance(translated, NotFound):
        return Unavailable(f"{directory} changed during the scan: {error.strerror}")
    return translated


class BeneathStream:
    """A file from an offset on, to its listed size. One thread at a time."""

    def __init__(self, fd: int, found: FoundFile, offset_bytes: int) -> None:
        self._fd = fd
        self._found = found
        self._offset = offset_bytes

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`."""
        wanted = buffer[: self._found.size_bytes - self._offset]
        if not wanted:
            return 0
        try:
            count = os.preadv(self._fd, [wanted], self._offset)
        except OSError as error:
            raise Unavailable(f"{self._found.path}: {error.strerror} at byte {self._offset}") from error
        if count == 0:
            raise Unavailable(
                f"{self._found.path} ended after {self._offset} bytes, expected {self._found.size_bytes}",
                hint="it was truncated while it was read",
            )
        self._offset += count
        return count

    def __enter__(self) -> BeneathStream:
        return self

    def __exit__(self, *exc: object) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_beneath(root: Path, directory: str, found: FoundFile, offset_bytes: int, *, same_time: bool) -> BeneathStream:
    """Open a listed file for reading, following no link in any part of its path below `root`.

    Raises:
        NotFound: It is gone.
        Conflict: It differs from the listed one: its size, or with `same_time` its time, or it became a link.
        Unavailable: It could not be opened.
    """
    what = f"{root / directory / found.path}"
    parts = f"{directory}/{found.path}".split("/")
    try:
        fd = _open_parts(root, parts)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise Conflict(f"{what} is no longer a file below the registry: {error.strerror}") from error
        raise translate_errors(error, what) from error
    stream = BeneathStream(fd, found, offset_bytes)
    status = os.fstat(fd)
    now = (stat.S_ISREG(status.st_mode), status.st_size, status.st_mtime_ns if same_time else found.mtime_ns)
    if now != (True, found.size_bytes, found.mtime_ns):
        with stream:
            raise Conflict(
                f"{what}: expected {found.size_bytes} bytes of {found.mtime_ns} ns as listed, "
                f"got {status.st_size} bytes of {status.st_mtime_ns} ns",
                hint="a published version must not change",
            )
    return stream


def _open_parts(root: Path, parts: list[str]) -> int:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        last = part is parts[-1]
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_NONBLOCK if last else os.O_DIRECTORY)
        parent = fd
        try:
            fd = os.open(part, flags, dir_fd=parent)
        finally:
            os.close(parent)
    return fd
