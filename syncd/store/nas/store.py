"""A store on a mounted directory: staged beside, fsynced, read back from the server, then linked into place.

Everything is reached from an open descriptor of the root, one directory after another, following no symlink.
Layout: objects at their keys; `.syncd-staging/<token>.data` and `.key` while they are on their way. `.key`, which holds
the key, is called `.new` until `.data` is there too: so an upload is begun by one rename, and one that was never begun
can be taken over by whoever renames it first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.parts import Part
from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.logs import Logger
from syncd.store.base import Buffer, PendingUpload, Put, PutMode, Stat, Traits, put_each
from syncd.store.keys import parse_key, parse_prefix
from syncd.store.nas import posix
from syncd.store.nas.posix import FileStream, translate_errors
from syncd.store.nas.upload import NasUpload

STAGING: Final = ".syncd-staging"
_TOKEN: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")
_FREE_MARGIN_BYTES: Final = 64 << 20  # left free by large files, so that small ones and the seal still fit
_PUBLISH_TRIES: Final = 5  # each is lost only to somebody pruning the same empty directory at that moment
_BEGIN_TRIES: Final = 100  # each is lost only to another writer of the same key who began at that moment
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


@dataclass(frozen=True, slots=True)
class NasSettings:
    """Where it is mounted. `marker`, if given, is a file that must be in the root: it proves the mount is there."""

    root: Path
    marker: str | None = None
    file_mode: int = 0o644
    directory_mode: int = 0o755


class NasStore:
    """See `syncd.store.base.Store`. The root is never created: a missing one is a mount that is missing."""

    traits: Final = _TRAITS

    def __init__(self, settings: NasSettings) -> None:
        self._settings = settings

    def __repr__(self) -> str:
        return f"NasStore({self._settings.root})"

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
                raise Conflict(f"{self.place(key)}: {self.stat(key).size_bytes} bytes are there already")
            self._check_room(key, sum(part.size_bytes for part in parts))
            return self._begin(key, parts, PutMode.CREATE)
        _parse_object_key(key)
        gone = NotFound(f"{self.place(key)}: upload {resume[:80]!r} is gone")
        if not _TOKEN.fullmatch(resume) or not resume.startswith(_key_hash(key)):
            raise gone
        with contextlib.suppress(NotFound), self.directory((STAGING,)) as staging:
            if self._is_whole(staging, resume, key):
                return NasUpload(self, key, parts, resume)
            if self._is_left(staging, resume, key):
                self.discard(resume)  # half of it is of no use to anybody
        raise gone

    def open(self, key: str, offset_bytes: int = 0) -> FileStream:
        *parents, name = _parse_object_key(key).split("/")
        with self.directory(tuple(parents), key) as directory, translate_errors(self.place(key)):
            descriptor = posix.open_file(directory, name)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # what the server has, not what we remember
            os.lseek(descriptor, offset_bytes, os.SEEK_SET)
        return FileStream(descriptor, self.place(key))

    def stat(self, key: str) -> Stat:
        *parents, name = _parse_object_key(key).split("/")
        with self.directory(tuple(parents), key) as directory, translate_errors(self.place(key)):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if posix.is_symlink(found):
            raise Refused(f"{self.place(key)} is a symlink", hint="syncd follows no symlinks below its root")
        if not posix.is_file(found):
            raise NotFound(f"{self.place(key)} is not a file")
        return _stat(key, found)

    def list(self, prefix: str) -> Iterator[Stat]:
        parts = tuple(parse_prefix(prefix).split("/")[:-1])
        with contextlib.suppress(NotFound), self.directory(parts, prefix) as directory:
            yield from self._walk(directory, prefix)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        parse_prefix(prefix)
        with contextlib.suppress(NotFound), self.directory((STAGING,)) as staging:
            with translate_errors(self.place(STAGING)):
                names = [name.rpartition(".") for name in posix.names(staging)]
            for token in dict.fromkeys(token for token, _, kind in names if kind in {"key", "new"}):
                begun = self._begun(staging, token)
                if begun is not None and begun.key.startswith(prefix):
                    yield begun

    def delete(self, key: str) -> None:
        *parents, name = _parse_object_key(key).split("/")
        with (
            contextlib.suppress(NotFound),
            self.directory(tuple(parents), key) as final,
            translate_errors(self.place(key)),
        ):
            os.unlink(name, dir_fd=final)
            os.fsync(final)
        self._prune(tuple(parents))

    def place(self, key: str) -> str:
        """The name of an object in messages."""
        return f"nas:{self._settings.root / key}"

    @contextmanager
    def directory(self, parts: tuple[str, ...], key: str = "", *, create: bool = False) -> Iterator[int]:
        """A descriptor of a directory below the root; what is missing on the way is made if `create` says so.

        Raises:
            NotFound: It is not there, the root being there.
            Unavailable: The root is not there, or is not the mount.
            Refused: A symlink is in the way.
        """
        descriptor = self._root()
        try:
            with translate_errors(self.place(key or "/".join(parts))):
                for part in parts:
                    inner = posix.open_directory(descriptor, part, self._settings.directory_mode if create else None)
                    os.close(descriptor)
                    descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def publish(self, token: str, key: str, mode: PutMode) -> None:
        """The only thing that gives a file its final name. It is whole, fsynced and proven by then.

        Raises:
            Conflict: CREATE, and another file is there.
            NotFound: The staged file is gone.
        """
        for tries_left in reversed(range(_PUBLISH_TRIES)):
            try:
                self._publish(token, key, mode)
            except NotFound:
                if not tries_left or not self._is_staged(token):
                    raise
            else:
                return

    def discard(self, token: str) -> None:
        """Throw a staged upload away. The key goes last: what is half discarded is still found by `pending`."""
        with (
            contextlib.suppress(NotFound),
            self.directory((STAGING,)) as staging,
            translate_errors(self.place(STAGING)),
        ):
            posix.remove(staging, f"{token}.data")
            posix.remove(staging, f"{token}.key")

    @contextmanager
    def staged(self, token: str, key: str, flags: int) -> Iterator[int]:
        """A descriptor of the bytes of an upload on its way to `key`. Raises NotFound: it is gone."""
        with self.directory((STAGING,), key) as staging, translate_errors(self.place(key)):
            descriptor = posix.open_file(staging, f"{token}.data", flags)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    def _publish(self, token: str, key: str, mode: PutMode) -> None:
        *parents, name = key.split("/")
        with (
            self.directory((STAGING,), key) as staging,
            self.directory(tuple(parents), key, create=True) as final,
            translate_errors(self.place(key)),
        ):
            if mode is PutMode.OVERWRITE:
                os.rename(f"{token}.data", name, src_dir_fd=staging, dst_dir_fd=final)
            else:
                posix.link((staging, f"{token}.data"), (final, name))
            os.fsync(final)

    def _is_staged(self, token: str) -> bool:
        try:
            with self.directory((STAGING,)) as staging, translate_errors(self.place(STAGING)):
                return f"{token}.data" in posix.names(staging)
        except NotFound:
            return False

    def _root(self) -> int:
        root, marker = self._settings.root, self._settings.marker
        with translate_errors(f"nas:{root}"):
            try:
                descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise Unavailable(f"nas:{root} is not there", hint="mount it; syncd never creates a root") from error
        if marker is None:
            return descriptor
        try:
            os.stat(marker, dir_fd=descriptor, follow_symlinks=False)
        except OSError as error:
            os.close(descriptor)
            raise Unavailable(
                f"nas:{root} has no {marker}, so it is not the mount", hint=f"mount it, or once: touch {root / marker}"
            ) from error
        return descriptor

    def _check_room(self, key: str, size_bytes: int) -> None:
        with self.directory((), key) as root, translate_errors(self.place(key)):
            free = os.fstatvfs(root)
        free_bytes = free.f_bavail * free.f_frsize
        if size_bytes + _FREE_MARGIN_BYTES > free_bytes:
            raise Refused(
                f"{self.place(key)}: {size_bytes} bytes are wanted, {free_bytes} are free",
                hint="make room: remove versions that nothing serves",
            )

    def _begin(self, key: str, parts: tuple[Part, ...], mode: PutMode) -> NasUpload:
        _parse_object_key(key)
        with self.directory((STAGING,), key, create=True) as staging, translate_errors(self.place(key)):
            self._clear(staging, key)
            for _ in range(_BEGIN_TRIES):
                token = f"{_key_hash(key)}-{secrets.token_hex(16)}"
                if self._stage(staging, token, key):
                    return NasUpload(self, key, parts, token, mode)
        raise Unavailable(f"{self.place(key)}: {_BEGIN_TRIES} times another writer of it was faster")

    def _stage(self, staging: int, token: str, key: str) -> bool:
        """Whether it is begun; not if somebody who began the same key took this for what a crash left."""
        posix.create_file(staging, f"{token}.new", key.encode(), self._settings.file_mode)
        posix.create_file(staging, f"{token}.data", b"", self._settings.file_mode)
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
                self.discard(token)

    def _is_left(self, staging: int, token: str, key: str) -> bool:
        """Whether it is half an upload, and ours to remove: a writer who was just beginning it begins anew."""
        taken = posix.rename(staging, f"{token}.new", f"{token}.key")
        return taken or not self._is_whole(staging, token, key)

    def _is_whole(self, staging: int, token: str, key: str) -> bool:
        """Whether both files of a staged upload are there and it is of this key."""
        begun = self._begun(staging, token)
        with translate_errors(self.place(STAGING)):
            both = {f"{token}.key", f"{token}.data"} <= set(posix.names(staging))
        return both and begun is not None and begun.key == key

    def _begun(self, staging: int, token: str) -> PendingUpload | None:
        if not _TOKEN.fullmatch(token):
            return None
        for kind in ("new", "key"):  # in this order, since it may be renamed meanwhile
            with contextlib.suppress(NotFound), translate_errors(self.place(STAGING)):
                content, started_at = posix.read_file(staging, f"{token}.{kind}")
                return PendingUpload(content.decode(errors="replace"), token, started_at)
        return None  # ended meanwhile

    def _walk(self, directory: int, prefix: str) -> Iterator[Stat]:
        with translate_errors(self.place(prefix)):
            children = posix.entries(directory)
        for name, found in children:
            if not prefix and name in {STAGING, self._settings.marker}:
                continue
            if posix.is_file(found):
                yield _stat(prefix + name, found)
            elif posix.is_directory(found):
                yield from self._inside(directory, name, prefix)
            else:
                _log.warning("nas.neither_file_nor_directory", place=self.place(prefix + name))

    def _inside(self, directory: int, name: str, prefix: str) -> Iterator[Stat]:
        try:
            with translate_errors(self.place(prefix + name)):
                inner = posix.open_directory(directory, name, None)
        except NotFound:
            return  # removed meanwhile
        try:
            yield from self._walk(inner, f"{prefix}{name}/")
        finally:
            os.close(inner)

    def _prune(self, parts: tuple[str, ...]) -> None:
        """Remove directories that became empty, but never one that lies in the root itself: those are mounted."""
        for depth in range(len(parts), 1, -1):
            try:
                with self.directory(parts[: depth - 1]) as parent:
                    os.rmdir(parts[depth - 1], dir_fd=parent)
            except (NotFound, FileNotFoundError):
                continue
            except OSError:
                return  # not empty, or not ours to remove: it does no harm


def _parse_object_key(key: str) -> str:
    if key.endswith("/") or key == STAGING or key.startswith(f"{STAGING}/"):
        raise Invalid(f"key {key[:120]!r}: a directory needs no marker on NAS, and {STAGING} is syncd's own")
    return parse_key(key)


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _stat(key: str, found: os.stat_result) -> Stat:
    return Stat(key, found.st_size, None, datetime.fromtimestamp(found.st_mtime, UTC))
