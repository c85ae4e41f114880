"""Source directory of `publish --from`: which files are taken, which are left out, and reads that follow no link."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from syncd.artifact.names import parse_paths
from syncd.errors import Conflict, Invalid, Refused
from syncd.registry.directory_tree import downloading, is_ignored

LIST: Final = "SHA256SUMS"
_CHUNK_BYTES: Final = 1 << 20
_RETRY_HINT: Final = "publish again when nothing writes to it"
_SECRETS_BYTES_MAX: Final = 1 << 20
_LINK_HINT: Final = (
    "copy it with its links resolved, `cp -rL {} DIR`, or download it without links,"
    " `hf download REPOSITORY --local-dir DIR`; then publish --from DIR"
)

# What is known to be a credential by its form alone. Each is one that public tools and the vendors document; the value
# is never shown. A bare word of 40 letters is not among them: hashes and vocabularies are full of those.
_KINDS: Final = {
    "a URL with a user name and password": rb"[a-z][a-z0-9+.-]{1,9}://[^\s/:@'\"<>]{0,99}:[^\s/@'\"<>]{3,99}@[\w.[-]",
    "a private key": rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    "an Alibaba Cloud access key": rb"(?<![A-Za-z0-9])(?:LTAI[A-Za-z0-9]{12,26}|STS\.\w{20,40})(?![A-Za-z0-9])",
    "an AWS access key": rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "a Google API key": rb"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    "an Azure storage key": rb"AccountKey=[A-Za-z0-9+/]{86}==",
    "a Tencent Cloud secret id": rb"(?<![A-Za-z0-9])AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])",
    "a Hugging Face token": rb"(?<![A-Za-z0-9])hf_[A-Za-z]{34}(?![A-Za-z0-9])",
    "a GitHub token": rb"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{36,255})",
}
_SECRETS: Final = tuple((kind, re.compile(pattern)) for kind, pattern in _KINDS.items())
# Tokenizers and vocabularies hold every string that people write, credentials among them.
_NOT_READ: Final = re.compile(
    r"(?i)(?:^|[._-])(?:tokenizer|vocab|vocabulary|merges|spiece|sentencepiece|added_tokens|special_tokens_map)"
)


@dataclass(frozen=True, slots=True)
class Found:
    """One regular file: its inode, size and the time it was last written, by which a change is noticed."""

    inode: int
    size_bytes: int
    mtime_ns: int


Files = Mapping[str, Found]  # by path below the directory, sorted


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The files to publish, and the directories and files that are left out, each by its path."""

    files: Files
    left_out: tuple[str, ...]


def scan(source: Path) -> SourceFiles:
    """List what is below `source`. Hidden directories and the leftovers of tools are left out, links are refused.

    Raises:
        Invalid: It is not a directory, has no files, or has a link, a special file, or a name that is not allowed.
        Conflict: It changes during the scan.
        Refused: It cannot be read.
    """
    if not source.is_dir():
        raise Invalid(f"--from {source} is not a directory")
    found: dict[str, Found] = {}
    left_out: list[str] = []
    for path in _walk(source, "", left_out):
        with reading(source / path):
            seen = (source / path).lstat()
        if not stat.S_ISREG(seen.st_mode):
            raise _not_a_file(source, path, seen.st_mode)
        found[path] = Found(seen.st_ino, seen.st_size, seen.st_mtime_ns)
    found.pop(LIST, None)
    if not found:
        raise Invalid(f"--from {source} has no files in it")
    parse_paths(found)
    return SourceFiles(dict(sorted(found.items())), tuple(sorted(left_out)))


def _walk(source: Path, directory: str, left_out: list[str]) -> Iterator[str]:
    with reading(source / directory):
        entries = sorted(os.scandir(source / directory), key=lambda entry: entry.name)
    for entry in entries:
        path = f"{directory}/{entry.name}" if directory else entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        if is_ignored(entry.name, directory=is_directory):
            left_out.append(f"{path}/" if is_directory else path)
        elif not is_directory and (unfinished := downloading(path)):
            raise Conflict(
                f"--from {source / unfinished} is still being downloaded: {entry.name} is beside it",
                hint="let the download end, or remove both files",
            )
        elif is_directory:
            yield from _walk(source, path, left_out)
        else:
            yield path


def _not_a_file(source: Path, path: str, mode: int) -> Invalid:
    if stat.S_ISLNK(mode):
        return Invalid(
            f"--from {source / path} is a symbolic link, and links are not followed", hint=_LINK_HINT.format(source)
        )
    return Invalid(f"--from {source / path} is not a regular file", hint="remove it: a version holds regular files")


def check_unchanged(source: Path, files: Files) -> None:
    """Raises Conflict: A file appeared, disappeared or was written since `scan`; the message has the first."""
    now = scan(source).files
    changed = sorted(name for name in now.keys() | files.keys() if now.get(name) != files.get(name))
    if changed:
        raise Conflict(f"--from {source / changed[0]} changed while it was read", hint=_RETRY_HINT)


def check_no_secrets(source: Path, files: Files, allowed: frozenset[str]) -> None:
    """Look for credentials in text files of at most 1 MiB, tokenizer and vocabulary files left out.

    `allowed` are paths, or patterns in which `*` stands for anything, that are published in spite of that.

    Raises:
        Conflict: A file has one. The message has the file, the line and the kind, never the value.
    """
    for path, found in files.items():
        name = PurePosixPath(path)
        if found.size_bytes > _SECRETS_BYTES_MAX or _NOT_READ.search(name.name) or any(map(name.match, allowed)):
            continue
        with open_file(source, path, found) as opened:
            data = _text_of(opened.read())
        for what, pattern in _SECRETS:
            match = pattern.search(data)
            if match is not None:
                line = data.count(b"\n", 0, match.start()) + 1
                raise Conflict(
                    f"--from {source / path}, line {line}: this seems to be {what}; nothing was published",
                    hint=f"remove it, or publish it on purpose with --allow-secret {path}",
                )


def _text_of(data: bytes) -> bytes:
    """The bytes as ASCII-compatible text; nothing of a binary file."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:  # UTF-16, as Windows tools write it
        return data.decode("utf-16", "replace").encode()
    return b"" if b"\0" in data else data


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises Conflict or Refused: A file of the source disappeared, or cannot be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise Conflict(f"--from {path} disappeared while it was read", hint=_RETRY_HINT) from error
    except PermissionError as error:
        raise Refused(f"--from {path}: {error.strerror}", hint="let the user that publishes read it") from error


@contextmanager
def open_file(source: Path, path: str, found: Found) -> Iterator[io.BufferedReader]:
    """Open a file that `scan` found, following no link below `source`.

    Raises:
        Conflict: It is another file by now, or a part of its path became a link.
        Refused: It cannot be read.
    """
    with reading(source / path):
        try:
            descriptor = _open_below(source, path)
        except OSError as error:
            if isinstance(error, (FileNotFoundError, PermissionError)):
                raise
            raise Conflict(f"--from {source / path} changed while it was read", hint=_RETRY_HINT) from error
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if (stat.S_ISREG(status.st_mode), Found(status.st_ino, status.st_size, status.st_mtime_ns)) != (True, found):
            raise Conflict(f"--from {source / path} changed while it was read", hint=_RETRY_HINT)
        yield opened


def _open_below(source: Path, path: str) -> int:
    descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    *directories, name = path.split("/")
    for part, flags in [*((each, os.O_DIRECTORY) for each in directories), (name, os.O_NONBLOCK)]:
        parent = descriptor
        try:
            descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=parent)
        finally:
            os.close(parent)
    return descriptor


def digest_of(source: Path, path: str, found: Found, write: Callable[[bytes], object] = len) -> str:
    """The SHA-256 of a file; `write` is given its bytes in order. Raises as `open_file`."""
    sha = hashlib.sha256()
    with open_file(source, path, found) as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            sha.update(chunk)
            write(chunk)
    return sha.hexdigest()


def listed(digests: Mapping[str, str]) -> str:
    """A checksum list as `sha256sum` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())
