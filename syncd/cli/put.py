"""`publish --from`: a directory becomes a version of a directory registry."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from syncd.errors import Conflict, Invalid, Unavailable

_COPYING_SUFFIX: Final = ".incomplete"
LIST: Final = "SHA256SUMS"
_CHUNK_BYTES: Final = 1 << 20


def put(source: Path, final: Path) -> None:
    """Copy `source` beside `final`, list its files by digest, sync, and rename: there is never half a version.

    What an interrupted copy left is begun anew. A version that is there already and has the same files is success.

    Raises:
        Invalid: The source is not a directory with files in it, or has links or special files.
        Conflict: The version is there already with other bytes, or another process is copying it.
        Unavailable: The registry's disk is full or cannot be written to.
    """
    files = files_below(source)
    if final.exists():
        _refuse_other(source, files, final)
        return
    staged = final.with_name(f"{final.name}{_COPYING_SUFFIX}")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        sums = {name: _copied(source / name, staged / name) for name in files}
        _write_synced(staged / LIST, listed(sums))
        staged.rename(final)
    except FileExistsError as error:  # another process put it there meanwhile
        raise Conflict(f"{final} has just appeared", hint="publish again: the same bytes are accepted") from error
    except OSError as error:
        wanted = f"{error.filename or final}: {error.strerror}"
        raise Unavailable(wanted, hint="look at the registry's disk and permissions") from error


def listed(digests: Mapping[str, str]) -> str:
    """The list of a version's files, as `sha256sum` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def files_below(source: Path) -> list[str]:
    """Paths below the source, sorted. A link would mean other bytes tomorrow, so it is refused."""
    if not source.is_dir():
        raise Invalid(f"--from {source} is not a directory")
    found: list[str] = []
    for path in sorted(source.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Invalid(f"--from {path} is a link or no regular file", hint="a version holds plain files")
        if path.is_file() and path.relative_to(source).as_posix() != LIST:
            found.append(path.relative_to(source).as_posix())
    if not found:
        raise Invalid(f"--from {source} has no files in it")
    return found


def _refuse_other(source: Path, files: list[str], final: Path) -> None:
    try:
        there = (final / LIST).read_text()
    except OSError:
        there = ""
    if there != listed({name: digest_of(source / name) for name in files}):
        raise Conflict(f"{final} is there already", hint="a published version never changes; choose another name")


def _copied(path: Path, to: Path) -> str:
    """Copy one file and return the SHA-256 of what was read, which every later reader is held to."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("wb") as writing:
        digest = digest_of(path, writing.write)
        writing.flush()
        os.fsync(writing.fileno())
    return digest


def digest_of(path: Path, tell: Callable[[bytes], object] = len) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as reading:
        while chunk := reading.read(_CHUNK_BYTES):
            sha.update(chunk)
            tell(chunk)
    return sha.hexdigest()


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as writing:
        writing.write(text)
        writing.flush()
        os.fsync(writing.fileno())
