"""Transfer journal in SQL: unfinished uploads, verified checksums, and contents already at the target."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.errors import NotFound, SyncdError
from syncd.state.content import contents
from syncd.state.db.rows import fetch_all, insert
from syncd.state.db.schema import files, uploads
from syncd.state.records import OpenUpload
from syncd.state.state import State
from syncd.targets.base import HeldRange

_SAVE_S: Final = 0.25  # a commit waits for the disk: one per small file would cost more than sending it


class SqlJournal:
    """`targets.base.Journal` of one version at one target. Each call is a short transaction. Safe from several threads.

    `proven` only remembers, and commits several files at once: the first call later than a quarter of a second
    after the last commit takes those before it along, and `settle` takes all. The version's checksums are read
    once; a checksum that was unknown then is queried again.

    Every method raises what `State.read` and `State.write` raise.
    """

    def __init__(self, state: State, version_id: str, target: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._version_id = version_id
        self._target = target
        self._clock = clock
        self._lock = Lock()
        self._saving = Lock()
        self._saved_s = clock()
        self._known: dict[FilePath, int | None] | None = None  # None for a file: not verified at the time of the query
        self._unsaved: dict[FilePath, int] = {}

    def find(self, path: FilePath) -> str | None:
        """The token of this file's unfinished upload, if any."""
        with self._state.read() as conn:
            return conn.execute(sa.select(uploads.c.token).where(self._upload(path))).scalar_one_or_none()

    def opened(self, path: FilePath, token: str) -> None:
        """Record an upload; replaces an older one of the same file."""
        key = {"version_id": self._version_id, "target": self._target, "path": path}
        with self._state.write() as conn:
            values = {"token": token, "opened_at": self._state.now(conn)}
            row = insert(conn, uploads).values(**key, **values)
            conn.execute(row.on_conflict_do_update(index_elements=list(key), set_=values))

    def closed(self, path: FilePath) -> None:
        """Delete the upload. Repeating it is success."""
        with self._state.write() as conn:
            conn.execute(sa.delete(uploads).where(self._upload(path)))

    def forget(self) -> None:
        """Delete every upload of the version at this target. Repeating it is success."""
        with self._state.write() as conn:
            conn.execute(sa.delete(uploads).where(self._here()))

    def proven(self, path: FilePath, crc64: int) -> None:
        """Record the checksum of a file whose SHA-256 was verified.

        Raises:
            NotFound: The version has no such file.
        """
        known = self._checksums()
        if path not in known:
            raise NotFound(f"{self._version_id} has no file {path}")
        with self._lock:
            known[path] = self._unsaved[path] = crc64
            is_due = self._clock() - self._saved_s >= _SAVE_S
            if is_due:
                self._saved_s = self._clock()  # so that one thread commits and the others continue
        if is_due:
            self.settle()

    def settle(self) -> None:
        """Commit what `proven` collected. If that fails, it is kept for the next call."""
        with self._saving:
            with self._lock:
                unsaved, self._unsaved = self._unsaved, {}
            try:
                self._save(unsaved)
            except SyncdError:
                with self._lock:
                    self._unsaved = unsaved | self._unsaved
                raise
            with self._lock:
                self._saved_s = self._clock()

    def crc64(self, path: FilePath) -> int | None:
        """The verified checksum of a file with the same SHA-256, in any version and at any target."""
        known = self._checksums().get(path)
        if known is not None:
            return known
        content = sa.select(files.c.sha256).where(self._file(path)).scalar_subquery()
        proven = sa.select(files.c.crc64).where(files.c.sha256 == content, files.c.crc64.is_not(None)).limit(1)
        with self._state.read() as conn:
            return conn.execute(proven).scalar_one_or_none()

    def learned(self, sha256: Digest, blocks: bytes, leaves: bytes = b"") -> None:
        """Record the parts of a content, and its leaf digests; replaces an older cut."""
        with self._state.write() as conn:
            contents.record(conn, sha256, blocks, leaves)

    def leaves(self) -> dict[FilePath, bytes]:
        """The leaf digests of the version's large files, as recorded for their contents."""
        with self._state.read() as conn:
            return contents.leaves(conn, self._version_id)

    def held(self, parts_max: int) -> list[HeldRange]:
        """Contents of versions sealed at this target that can be copied, newest first."""
        with self._state.read() as conn:
            return contents.held_blocks(conn, self._version_id, self._target, parts_max)

    def _checksums(self) -> dict[FilePath, int | None]:
        """For every file of the version, the checksum verified for its content, if any."""
        with self._lock:
            if self._known is None:
                same = files.alias()
                proven = sa.select(same.c.crc64).where(same.c.sha256 == files.c.sha256, same.c.crc64.is_not(None))
                query = sa.select(files.c.path, proven.limit(1).scalar_subquery())
                with self._state.read() as conn:
                    rows = conn.execute(query.where(files.c.version_id == self._version_id))
                    self._known = {FilePath(path): crc64 for path, crc64 in rows}
            return self._known

    def _save(self, proven: dict[FilePath, int]) -> None:
        if not proven:
            return
        query = sa.update(files).where(files.c.version_id == self._version_id, files.c.path == sa.bindparam("at"))
        with self._state.write() as conn:
            conn.execute(
                query.values(crc64=sa.bindparam("sum", type_=files.c.crc64.type)),
                [{"at": path, "sum": crc64} for path, crc64 in proven.items()],
            )

    def _upload(self, path: FilePath) -> sa.ColumnElement[bool]:
        return sa.and_(self._here(), uploads.c.path == path)

    def _here(self) -> sa.ColumnElement[bool]:
        return sa.and_(uploads.c.version_id == self._version_id, uploads.c.target == self._target)

    def _file(self, path: FilePath) -> sa.ColumnElement[bool]:
        return sa.and_(files.c.version_id == self._version_id, files.c.path == path)


def open_uploads(conn: sa.Connection, target: str | None = None) -> list[OpenUpload]:
    """Uploads that were neither finished nor aborted, at one target or at all targets, oldest first."""
    query = sa.select(uploads).order_by(uploads.c.opened_at, uploads.c.version_id, uploads.c.target, uploads.c.path)
    return fetch_all(conn, OpenUpload, query if target is None else query.where(uploads.c.target == target))
