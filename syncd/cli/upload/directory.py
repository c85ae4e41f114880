"""Upload of a directory into a directory registry, for `publish --from`: copied aside, synced, renamed into place."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from syncd.cli.upload.source_directory import LIST, Files, Found, check_unchanged, digest_of, listed
from syncd.errors import Conflict, Unavailable

_COPYING_SUFFIX: Final = ".incomplete"
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})  # a mount that has none
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def upload_directory(source: Path, files: Files, final: Path) -> None:
    """Copy `files` of `source` beside `final`, list them by digest, sync, and rename: a version appears whole or not.

    A copy that was interrupted starts again. A version that exists with the same files is success.

    Raises:
        Conflict: The version exists with other bytes, another process is copying it, or the source changed.
        Refused: A file of the source cannot be read.
        Unavailable: The registry's disk is full or cannot be written to.
    """
    if final.exists():
        _check_same(source, files, final)
        return
    try:
        with _locked(final):
            if final.exists():  # another process finished it meanwhile
                _check_same(source, files, final)
            else:
                _copy_all(source, files, final)
    except OSError as error:
        reason = f"{error.filename or final}: {error.strerror}"
        raise Unavailable(reason, hint="check the registry's disk and its permissions, then publish again") from error


def _copy_all(source: Path, files: Files, final: Path) -> None:
    staged = final.with_name(f"{final.name}{_COPYING_SUFFIX}")
    if staged.is_symlink():
        raise Conflict(f"{staged} is a symbolic link: nothing is written through it", hint=f"remove it: rm {staged}")
    parent = os.open(final.parent, _DIRECTORY)
    try:
        shutil.rmtree(staged.name, ignore_errors=True, dir_fd=parent)
        os.mkdir(staged.name, dir_fd=parent)  # it fails if a link was created meanwhile
        directory = os.open(staged.name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            sums = {name: _copy(source, name, found, directory) for name, found in files.items()}
            check_unchanged(source, files)
            _write_synced(directory, LIST, listed(sums))
        finally:
            os.close(directory)
        os.rename(staged.name, final.name, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        os.close(parent)


@contextmanager
def _locked(final: Path) -> Iterator[None]:
    """While inside, no other process copies this version, where the mount has locks. A killed process holds none.

    Raises:
        Conflict: Another process copies it, or the lock file is a link.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = final.with_name(f".{final.name}.lock")
    try:  # never truncated and never followed: it may be another program's file
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise Conflict(f"{lock} is a symbolic link, not a lock file", hint=f"remove it: rm {lock}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "publish again when it has ended: the same bytes are accepted"
            raise Conflict(f"another process is copying {final}", hint=hint) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
        lock.unlink(missing_ok=True)  # a process that waits on the old name finds the version
    finally:
        os.close(descriptor)


def _check_same(source: Path, files: Files, final: Path) -> None:
    try:
        there = (final / LIST).read_text(encoding="utf-8", errors="replace")
    except OSError:
        there = ""
    if there != listed({name: digest_of(source, name, found) for name, found in files.items()}):
        raise Conflict(
            f"{final} exists with other files",
            hint="a published version never changes; choose another version name. If it was refused and was never "
            f"live, remove it and publish again: rm -r {shlex.quote(str(final))}",
        )


def _copy(source: Path, name: str, found: Found, staged: int) -> str:
    """Copy one file and return the SHA-256 of what was read, which every later reader is held to."""
    *parents, last = name.split("/")
    directory = os.dup(staged)
    try:
        for part in parents:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=directory)
            inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        descriptor = os.open(last, _NEW_FILE, 0o644, dir_fd=directory)
    finally:
        os.close(directory)
    with os.fdopen(descriptor, "wb") as writing:
        digest = digest_of(source, name, found, writing.write)
        writing.flush()
        os.fsync(writing.fileno())
    return digest


def _write_synced(directory: int, name: str, text: str) -> None:
    with os.fdopen(os.open(name, _NEW_FILE, 0o644, dir_fd=directory), "w", encoding="utf-8") as writing:
        writing.write(text)
        writing.flush()
        os.fsync(writing.fileno())
