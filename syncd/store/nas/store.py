"""Store on a mounted directory: staged beside, fsynced, read back from the server, then linked into place.

Everything is reached from an open descriptor of the root, one directory after another, following no symlink.
Layout: objects at their keys; `.syncd-staging/<token>.data` and `.key` while they are on their way. `.key`, which holds
the key, is called `.new` until `.data` is there too: so an upload is begun by one rename, and one that was never begun
can be taken over by the writer that renames it first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.parts import Part
from syncd.errors import Conflict, NotFound, SyncdError, Unavailable
from syncd.logs import Logger
from syncd.retry import CallPolicy, once
from syncd.store.base import Buffer, PendingUpload, Put, PutMode, Stat, Traits, put_each
from syncd.store.keys import parse_prefix
from syncd.store.nas import posix
from syncd.store.nas.posix import FileStream, translate_errors
from syncd.store.nas.tree import STAGING, NasSettings, NasTree, parse_object_key, stat_of
from syncd.store.nas.upload import NasUpload

__all__ = ["STAGING", "NasSettings", "NasStore"]

_TOKEN: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")
_FREE_MARGIN_BYTES: Final = 64 << 20  # left free by large files, so that small ones and the seal still fit
_ROOM: Final = "make room: `syncd gc --plan` lists versions that nothing needs; or enlarge the file system"
_BEGIN_TRIES: Final = 100  # each is lost only to another writer of the same key that began at that moment
_TRAITS: Final = Traits(
    create_is_atomic=True,
    stat_has_crc64=False,
    needs_directory_markers=False,
    part_min_bytes=1,
    part_max_bytes=1 << 40,
    parts_max=1_000_000,
    puts_at_once=1,
)
_log = Logger()


class NasStore:
    """See `syncd.store.base.Store`. The root is never created: a missing one is a mount that is missing."""

    traits: Final = _TRAITS

    def __init__(self, settings: NasSettings) -> None:
        self.tree: Final = NasTree(settings)

    def __repr__(self) -> str:
        return f"NasStore({self.tree.settings.root})"

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        part = Part(1, 0, len(data))
        upload = self._begin(key, (part,), mode)
        try:
            crc64 = crc64_of(data)
            upload.send(part, data, crc64)
            return upload.complete(crc64)
        finally:
            upload.abort()

    def put_all(self, puts: Iterable[Put], mode: PutMode, at_once: int) -> Iterator[Stat | SyncdError]:  # noqa: ARG002 - one
        return put_each(self, puts, mode)

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> NasUpload:
        if resume is None:
            with contextlib.suppress(NotFound):
                raise Conflict(f"{self.tree.url(key)}: {self.tree.stat(key).size_bytes} bytes are there already")
            self._check_room(key, sum(part.size_bytes for part in parts))
            return self._begin(key, parts, PutMode.CREATE)
        parse_object_key(key)
        gone = NotFound(f"{self.tree.url(key)}: upload {resume[:80]!r} is gone")
        if not _TOKEN.fullmatch(resume) or not resume.startswith(_key_hash(key)):
            raise gone
        with contextlib.suppress(NotFound), self.tree.directory((STAGING,)) as staging:
            if self._is_whole(staging, resume, key):
                return NasUpload(self.tree, key, parts, resume)
            if self._is_left(staging, resume, key):
                self.tree.discard(resume)  # half of it is of no use
        raise gone

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> FileStream:
        del until_bytes  # to read ahead is the kernel's task
        return self.tree.open(key, offset_bytes)

    def stat(self, key: str) -> Stat:
        return self.tree.stat(key)

    def list(self, prefix: str, each: CallPolicy = once) -> Iterator[Stat]:
        parts = tuple(parse_prefix(prefix).split("/")[:-1])
        with contextlib.suppress(NotFound), contextlib.ExitStack() as opened:
            directory = each(lambda: opened.enter_context(self.tree.directory(parts, prefix)))
            yield from self._walk(directory, prefix, each)

    def pending(self, prefix: str, each: CallPolicy = once) -> Iterator[PendingUpload]:
        yield from each(lambda: [*self._pending(prefix)])

    def _pending(self, prefix: str) -> Iterator[PendingUpload]:
        parse_prefix(prefix)
        with contextlib.suppress(NotFound), self.tree.directory((STAGING,)) as staging:
            with translate_errors(self.tree.url(STAGING)):
                names = [name.rpartition(".") for name in posix.names(staging)]
            for token in dict.fromkeys(token for token, _, kind in names if kind in {"key", "new"}):
                begun = self._begun(staging, token)
                if begun is not None and begun.key.startswith(prefix):
                    yield begun

    def delete(self, key: str) -> None:
        *parents, name = parse_object_key(key).split("/")
        with (
            contextlib.suppress(NotFound),
            self.tree.directory(tuple(parents), key) as final,
            translate_errors(self.tree.url(key)),
        ):
            os.unlink(name, dir_fd=final)
            os.fsync(final)
        self._prune(tuple(parents))

    def check_room(self) -> None:
        free = self._free("")
        free_bytes = free.f_bavail * free.f_frsize
        if free_bytes < _FREE_MARGIN_BYTES:
            expected = f"expected at least {_FREE_MARGIN_BYTES >> 20}"
            what = f"{self.tree.url('')}: the file system is full: {free_bytes >> 20} MiB are free, {expected}"
            raise Unavailable(what, hint=_ROOM)
        if free.f_files and not free.f_favail:
            raise Unavailable(
                f"{self.tree.url('')}: the file system is full: it has room for no other file", hint=_ROOM
            )

    def _check_room(self, key: str, size_bytes: int) -> None:
        free = self._free(key)
        free_bytes = free.f_bavail * free.f_frsize
        if size_bytes + _FREE_MARGIN_BYTES > free_bytes:
            raise Unavailable(
                f"{self.tree.url(key)}: the file system is full: {size_bytes} bytes are needed, {free_bytes} are free",
                hint=_ROOM,
            )

    def _free(self, key: str) -> os.statvfs_result:
        with self.tree.directory((), key) as root, translate_errors(self.tree.url(key)):
            return os.fstatvfs(root)

    def _begin(self, key: str, parts: tuple[Part, ...], mode: PutMode) -> NasUpload:
        parse_object_key(key)
        with self.tree.directory((STAGING,), key, create=True) as staging, translate_errors(self.tree.url(key)):
            self._clear(staging, key)
            for _ in range(_BEGIN_TRIES):
                token = f"{_key_hash(key)}-{secrets.token_hex(16)}"
                if self._stage(staging, token, key):
                    return NasUpload(self.tree, key, parts, token, mode)
        raise Unavailable(f"{self.tree.url(key)}: {_BEGIN_TRIES} times another writer of it was faster")

    def _stage(self, staging: int, token: str, key: str) -> bool:
        """Begin an upload. False where another writer of the same key took it for a leftover of a crash."""
        posix.create_file(staging, f"{token}.new", key.encode(), self.tree.settings.file_mode)
        posix.create_file(staging, f"{token}.data", b"", self.tree.settings.file_mode)
        if posix.rename(staging, f"{token}.new", f"{token}.key"):
            return True
        posix.remove(staging, f"{token}.data")
        return False

    def _clear(self, staging: int, key: str) -> None:
        """Remove what a crash left of an upload of this key that was half begun, or half discarded.

        It may be so young that its `.new` is empty: then the beginning of its name is all that says whose it is.
        """
        tokens = {name.partition(".")[0] for name in posix.names(staging) if name.startswith(_key_hash(key))}
        for token in sorted(tokens):
            if _TOKEN.fullmatch(token) and self._is_left(staging, token, key):
                self.tree.discard(token)

    def _is_left(self, staging: int, token: str, key: str) -> bool:
        """Whether it is half an upload, and ours to remove: a writer who was just beginning it begins anew."""
        taken = posix.rename(staging, f"{token}.new", f"{token}.key")
        return taken or not self._is_whole(staging, token, key)

    def _is_whole(self, staging: int, token: str, key: str) -> bool:
        """Whether both files of a staged upload are there and it is of this key."""
        begun = self._begun(staging, token)
        with translate_errors(self.tree.url(STAGING)):
            both = {f"{token}.key", f"{token}.data"} <= set(posix.names(staging))
        return both and begun is not None and begun.key == key

    def _begun(self, staging: int, token: str) -> PendingUpload | None:
        if not _TOKEN.fullmatch(token):
            return None
        for kind in ("new", "key"):  # in this order, since it may be renamed meanwhile
            with contextlib.suppress(NotFound), translate_errors(self.tree.url(STAGING)):
                content, started_at = posix.read_file(staging, f"{token}.{kind}")
                return PendingUpload(content.decode(errors="replace"), token, started_at)
        return None  # ended meanwhile

    def _entries(self, directory: int, prefix: str) -> Sequence[tuple[str, os.stat_result]]:
        with translate_errors(self.tree.url(prefix)):
            return posix.entries(directory)

    def _walk(self, directory: int, prefix: str, each: CallPolicy) -> Iterator[Stat]:
        for name, found in each(lambda: self._entries(directory, prefix)):
            if not prefix and name in {STAGING, self.tree.settings.marker}:
                continue
            if posix.is_file(found):
                yield stat_of(prefix + name, found)
            elif posix.is_directory(found):
                yield from self._inside(directory, name, prefix, each)
            else:
                _log.warning(
                    "nas.neither_file_nor_directory",
                    message="A special file is passed over.",
                    place=self.tree.url(prefix + name),
                )

    def _opened(self, directory: int, name: str, prefix: str) -> int:
        with translate_errors(self.tree.url(prefix + name)):
            return posix.open_directory(directory, name, None)

    def _inside(self, directory: int, name: str, prefix: str, each: CallPolicy) -> Iterator[Stat]:
        try:
            inner = each(lambda: self._opened(directory, name, prefix))
        except NotFound:
            return  # removed meanwhile
        try:
            yield from self._walk(inner, f"{prefix}{name}/", each)
        finally:
            os.close(inner)

    def _prune(self, parts: tuple[str, ...]) -> None:
        """Remove directories that became empty, but never one directly in the root: those are mounted."""
        for depth in range(len(parts), 1, -1):
            try:
                with self.tree.directory(parts[: depth - 1]) as parent:
                    os.rmdir(parts[depth - 1], dir_fd=parent)
            except (NotFound, FileNotFoundError):
                continue
            except OSError:
                return  # not empty, or not ours to remove: it does no harm


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]
