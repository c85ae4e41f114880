"""Directories of a mounted root, and the staged files in it: what the store and its uploads both work on.

Everything is reached from an open descriptor of the root, one directory after another, following no symlink.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from syncd.errors import Invalid, NotFound, Refused, Unavailable
from syncd.store.base import PutMode, Stat
from syncd.store.keys import parse_key
from syncd.store.nas import posix
from syncd.store.nas.posix import FileStream, translate_errors

STAGING: Final = ".syncd-staging"
_PUBLISH_TRIES: Final = 5  # each is lost only to another process that prunes the same empty directory


@dataclass(frozen=True, slots=True)
class NasSettings:
    """Where it is mounted. `marker`, if given, is a file that must be in the root: it proves the mount is there."""

    root: Path
    marker: str | None = None
    file_mode: int = 0o644
    directory_mode: int = 0o755


class NasTree:
    """The root is never created: a missing one is a mount that is missing. Safe from several threads."""

    def __init__(self, settings: NasSettings) -> None:
        self.settings: Final = settings

    def open(self, key: str, offset_bytes: int = 0) -> FileStream:
        """See `syncd.store.base.Store`."""
        *parents, name = parse_object_key(key).split("/")
        with self.directory(tuple(parents), key) as directory, translate_errors(self.url(key)):
            descriptor = posix.open_file(directory, name)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # what the server has, not what we remember
            os.lseek(descriptor, offset_bytes, os.SEEK_SET)
        return FileStream(descriptor, self.url(key))

    def stat(self, key: str) -> Stat:
        """See `syncd.store.base.Store`."""
        *parents, name = parse_object_key(key).split("/")
        with self.directory(tuple(parents), key) as directory, translate_errors(self.url(key)):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if posix.is_symlink(found):
            raise Refused(f"{self.url(key)} is a symlink", hint="syncd follows no symlinks below its root")
        if not posix.is_file(found):
            raise NotFound(f"{self.url(key)} is not a file")
        return stat_of(key, found)

    def url(self, key: str) -> str:
        """The URL of an object, for messages."""
        return f"nas:{self.settings.root / key}"

    @contextmanager
    def directory(self, parts: tuple[str, ...], key: str = "", *, create: bool = False) -> Iterator[int]:
        """A descriptor of a directory below the root; missing ones on the path are made with `create`.

        Raises:
            NotFound: It is not there, the root being there.
            Unavailable: The root is not there, or is not the mount.
            Refused: A symlink is in the way.
        """
        descriptor = self._root()
        try:
            with translate_errors(self.url(key or "/".join(parts))):
                for part in parts:
                    inner = posix.open_directory(descriptor, part, self.settings.directory_mode if create else None)
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
            translate_errors(self.url(STAGING)),
        ):
            posix.remove(staging, f"{token}.data")
            posix.remove(staging, f"{token}.key")

    @contextmanager
    def staged(self, token: str, key: str, flags: int) -> Iterator[int]:
        """A descriptor of the bytes of an upload on its way to `key`. Raises NotFound: it is gone."""
        with self.directory((STAGING,), key) as staging, translate_errors(self.url(key)):
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
            translate_errors(self.url(key)),
        ):
            if mode is PutMode.OVERWRITE:
                os.rename(f"{token}.data", name, src_dir_fd=staging, dst_dir_fd=final)
            else:
                posix.link((staging, f"{token}.data"), (final, name))
            os.fsync(final)

    def _is_staged(self, token: str) -> bool:
        try:
            with self.directory((STAGING,)) as staging, translate_errors(self.url(STAGING)):
                return f"{token}.data" in posix.names(staging)
        except NotFound:
            return False

    def _root(self) -> int:
        root, marker = self.settings.root, self.settings.marker
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


def parse_object_key(key: str) -> str:
    """A key that a file can have. Raises Invalid."""
    if key.endswith("/") or key == STAGING or key.startswith(f"{STAGING}/"):
        raise Invalid(f"key {key[:120]!r}: a directory needs no marker on NAS, and {STAGING} is syncd's own")
    return parse_key(key)


def stat_of(key: str, found: os.stat_result) -> Stat:
    """One file as a store describes it."""
    return Stat(key, found.st_size, None, datetime.fromtimestamp(found.st_mtime, UTC))
