"""Read access to directories of other writers: links are not followed, absence is proven."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.artifact.digest import Digest
from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.registry.settings import DEFAULT_LIMITS, Limits
from syncd.values.file_table import FileTable, PathTable

_IGNORED_ENDS: Final = (".tmp", ".part", ".partial", ".crdownload", ".incomplete", "~")
# aria2 gives a file its full size at once and its name as well; until this file beside it is gone it has holes.
_CONTROL_END: Final = ".aria2"
_DOWNLOAD_HINT: Final = "let the download end, or remove both files"
_IGNORED_STARTS: Final = ".nfs"  # what an NFS client calls a file that is deleted while open
_IGNORED_FILES: Final = frozenset({".DS_Store"})
_IGNORED_DIRECTORIES: Final = frozenset({"lost+found", "__pycache__"})  # and every hidden one: .git, .cache, …


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file as it was scanned; `path` is relative to the tree."""

    path: str
    size_bytes: int
    mtime_ns: int


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


class Tree:
    """Every entry of a scanned tree but directories, in the order of the scan; in columns: there may be a million.

    `sizes` are in bytes, `times_ns` are of the last change. `refusals` say of some entries why they are never read.
    """

    def __init__(self) -> None:
        self.paths: Final[list[str]] = []
        self.sizes: Final = array("q")
        self.times_ns: Final = array("q")
        self.refusals: Final[dict[str, str]] = {}

    def add(self, path: str, status: os.stat_result, refusal: str) -> None:
        """Add an entry."""
        self.paths.append(path)
        self.sizes.append(status.st_size)
        self.times_ns.append(status.st_mtime_ns)
        if refusal:
            self.refusals[path] = refusal

    def snapshot(self, without: frozenset[str], digests: Mapping[str, Digest]) -> TreeSnapshot:
        """The files in the order of their paths, without those of some paths, and with the digests that are known.

        Empties the tree meanwhile: it takes more memory than the snapshot does.
        """
        chosen = array("Q", (at for at, path in enumerate(self.paths) if path not in without))
        ordered = array("Q", sorted(chosen, key=self.paths.__getitem__))
        paths = PathTable(self.paths[at] for at in ordered)
        self.paths.clear()
        known = {at: digests[path] for at, path in enumerate(paths) if path in digests} if digests else {}
        refusals = {at: reason for path, reason in self.refusals.items() if (at := paths.find(path)) is not None}
        files = FileTable(paths, array("q", (self.sizes[at] for at in ordered)), known, refusals)
        times_ns = array("q", (self.times_ns[at] for at in ordered))
        return TreeSnapshot(_tree_digest(files, times_ns), files, times_ns)


@dataclass(frozen=True, slots=True)
class TreeSnapshot:
    """A complete version as it was read. `times_ns` are of the last change of each of its files."""

    pin: str
    files: FileTable
    times_ns: Sequence[int]


def _tree_digest(files: FileTable, times_ns: Sequence[int]) -> str:
    """The tree digest: sha256 over "path NUL size NUL (sha256, or mtime in ns) newline", ordered by path."""
    tree = hashlib.sha256()
    for file, time_ns in zip(files, times_ns, strict=True):
        line = f"{file.path}\0{file.size_bytes}\0{file.sha256 or time_ns}\n"
        tree.update(line.encode("utf-8", "surrogatepass"))
    return tree.hexdigest()


def scan(
    top: Path, keep: frozenset[str], limits: Limits = DEFAULT_LIMITS, uncounted: frozenset[str] = frozenset()
) -> Tree:
    """Every entry below `top` but directories, names as they are.

    Ignored ones are left out unless `keep` has them, or something below them.

    Raises:
        Invalid: There are more than the limit, not counting the paths of `uncounted`; or as many directories to read.
        Unavailable: The tree changed during the scan.
    """
    kept = keep | {path[:at] for path in keep for at, letter in enumerate(path) if letter == "/"}
    found = Tree()
    todo = [""]
    while todo:
        directory = todo.pop()
        try:
            with os.scandir(top / directory) as entries:
                for entry in entries:
                    _take(entry, directory, kept, found, todo)
                    limits.check_count(max(len(found.paths) - len(uncounted), len(todo)), str(top))
        except OSError as error:
            raise _while_scanning(error, top / directory) from error
    return found


def _take(entry: os.DirEntry[str], directory: str, kept: frozenset[str], found: Tree, todo: list[str]) -> None:
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
    found.add(path, status, refusal)


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
