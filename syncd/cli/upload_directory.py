"""`publish --from`: a directory becomes a version of a directory registry."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from syncd.errors import Conflict, Invalid, Refused, Unavailable

_COPYING_SUFFIX: Final = ".incomplete"
LIST: Final = "SHA256SUMS"
_CHUNK_BYTES: Final = 1 << 20
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})  # a mount that has none
_WRITTEN: Final = "publish when it is written"

Files = Mapping[str, tuple[int, int, int]]  # by path: what it is, how long, and when it was written


def upload_directory(source: Path, final: Path) -> None:
    """Copy `source` beside `final`, list its files by digest, sync, and rename: there is never half a version.

    What an interrupted copy left is begun anew. A version that is there already and has the same files is success.

    Raises:
        Invalid: The source is not a directory with files in it, or has links or special files.
        Conflict: The version is there already with other bytes, another process is copying it, or the source changed.
        Unavailable: The registry's disk is full or cannot be written to.
    """
    files = files_below(source)
    if final.exists():
        _refuse_other(source, files, final)
        return
    try:
        with _alone(final):
            if final.exists():  # another process put it there meanwhile
                _refuse_other(source, files, final)
            else:
                _copied_whole(source, files, final)
    except OSError as error:
        wanted = f"{error.filename or final}: {error.strerror}"
        raise Unavailable(wanted, hint="look at the registry's disk and permissions") from error


def _copied_whole(source: Path, files: Files, final: Path) -> None:
    staged = final.with_name(f"{final.name}{_COPYING_SUFFIX}")
    shutil.rmtree(staged, ignore_errors=True)
    sums = {name: _copy(source / name, staged / name) for name in files}
    refuse_changed(source, files)
    _write_synced(staged / LIST, listed(sums))
    staged.rename(final)


@contextmanager
def _alone(final: Path) -> Iterator[None]:
    """While inside, no other process copies to this version, where the mount has locks. One that was killed has none.

    Raises:
        Conflict: Another does so now.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = final.with_name(f".{final.name}.lock")
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "publish again when it has ended: the same bytes are accepted"
            raise Conflict(f"another process is copying {final}", hint=hint) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
        lock.unlink(missing_ok=True)  # who holds it by its old name finds the version there


def listed(digests: Mapping[str, str]) -> str:
    """The list of a version's files, as `sha256sum` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def files_below(source: Path) -> Files:
    """What is below the source by its path, sorted. A link would mean other bytes tomorrow, so it is refused.

    Raises:
        Invalid: It is no directory with files in it, or has links or special files.
        Conflict: It changes while it is looked at.
    """
    if not source.is_dir():
        raise Invalid(f"--from {source} is not a directory")
    found: dict[str, tuple[int, int, int]] = {}
    for path in sorted(source.rglob("*")):
        with reading(path):
            seen = path.lstat()
        if not (stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode)):
            raise Invalid(f"--from {path} is a link or no regular file", hint="a version holds plain files")
        if stat.S_ISREG(seen.st_mode) and path.relative_to(source).as_posix() != LIST:
            found[path.relative_to(source).as_posix()] = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    if not found:
        raise Invalid(f"--from {source} has no files in it")
    return found


def refuse_changed(source: Path, files: Files) -> None:
    """Raises Conflict: A file came, went or was written since `files_below` looked; the message has one."""
    now = files_below(source)
    changed = sorted(name for name in now.keys() | files.keys() if now.get(name) != files.get(name))
    if changed:
        raise Conflict(f"--from {source / changed[0]} changed while it was read", hint=_WRITTEN)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises Conflict or Refused: The source's own file has gone, or cannot be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise Conflict(f"--from {path} has gone while it was read", hint=_WRITTEN) from error
    except PermissionError as error:
        raise Refused(f"--from {path}: {error.strerror}", hint="let the user that publishes read it") from error


def _refuse_other(source: Path, files: Files, final: Path) -> None:
    try:
        there = (final / LIST).read_text()
    except OSError:
        there = ""
    if there != listed({name: digest_of(source / name) for name in files}):
        raise Conflict(f"{final} is there already", hint="a published version never changes; choose another name")


def _copy(path: Path, to: Path) -> str:
    """Copy one file and return the SHA-256 of what was read, which every later reader is held to."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("wb") as writing:
        digest = digest_of(path, writing.write)
        writing.flush()
        os.fsync(writing.fileno())
    return digest


def digest_of(path: Path, tell: Callable[[bytes], object] = len) -> str:
    sha = hashlib.sha256()
    with reading(path):
        opened = path.open("rb")
    with opened:
        while chunk := opened.read(_CHUNK_BYTES):
            sha.update(chunk)
            tell(chunk)
    return sha.hexdigest()


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as writing:
        writing.write(text)
        writing.flush()
        os.fsync(writing.fileno())
