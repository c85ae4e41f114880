"""The journal: half-done uploads in SQL, the checksums of files that were proven, and what lies there already."""

from __future__ import annotations

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.errors import NotFound
from syncd.state import contents
from syncd.state.records import OpenUpload
from syncd.state.rows import every, insert
from syncd.state.schema import files, uploads
from syncd.state.state import State
from syncd.target.base import Held


class SqlJournal:
    """`target.base.Journal` of one version at one target. Each call is a short transaction. Safe from several threads.

    Raises from every method what `State.read` and `State.write` raise.
    """

    def __init__(self, state: State, version_id: str, target: str) -> None:
        self._state = state
        self._version_id = version_id
        self._target = target

    def find(self, path: FilePath) -> str | None:
        """The token of the upload begun for this file, if there is one."""
        with self._state.read() as conn:
            return conn.execute(sa.select(uploads.c.token).where(self._upload(path))).scalar_one_or_none()

    def opened(self, path: FilePath, token: str) -> None:
        """Remember an upload; replaces an older one of the same file."""
        key = {"version_id": self._version_id, "target": self._target, "path": path}
        with self._state.write() as conn:
            values = {"token": token, "opened_at": self._state.now(conn)}
            row = insert(conn, uploads).values(**key, **values)
            conn.execute(row.on_conflict_do_update(index_elements=list(key), set_=values))

    def closed(self, path: FilePath) -> None:
        """Forget it. Repeating it is success."""
        with self._state.write() as conn:
            conn.execute(sa.delete(uploads).where(self._upload(path)))

    def proven(self, path: FilePath, crc64: int) -> None:
        """Remember the checksum of a file whose SHA-256 was proven.

        Raises:
            NotFound: The version has no such file.
        """
        with self._state.write() as conn:
            if not conn.execute(sa.update(files).where(self._file(path)).values(crc64=crc64)).rowcount:
                raise NotFound(f"{self._version_id} has no file {path}")

    def crc64(self, path: FilePath) -> int | None:
        """The checksum that was proven for a file of the same SHA-256, in whatever version and at whatever target."""
        content = sa.select(files.c.sha256).where(self._file(path)).scalar_subquery()
        proven = sa.select(files.c.crc64).where(files.c.sha256 == content, files.c.crc64.is_not(None)).limit(1)
        with self._state.read() as conn:
            return conn.execute(proven).scalar_one_or_none()

    def learned(self, sha256: Digest, blocks: bytes) -> None:
        """Remember what the parts of a content are; replaces an older cut of it."""
        with self._state.write() as conn:
            contents.learn(conn, sha256, blocks)

    def held(self, parts_max: int) -> list[Held]:
        """What versions sealed at this target have that could be copied, newest first."""
        with self._state.read() as conn:
            return contents.held(conn, self._version_id, self._target, parts_max)

    def _upload(self, path: FilePath) -> sa.ColumnElement[bool]:
        here = sa.and_(uploads.c.version_id == self._version_id, uploads.c.target == self._target)
        return sa.and_(here, uploads.c.path == path)

    def _file(self, path: FilePath) -> sa.ColumnElement[bool]:
        return sa.and_(files.c.version_id == self._version_id, files.c.path == path)


def open_uploads(conn: sa.Connection, target: str | None = None) -> list[OpenUpload]:
    """Uploads that were begun and neither finished nor aborted, at one target or at all, oldest first."""
    query = sa.select(uploads).order_by(uploads.c.opened_at, uploads.c.version_id, uploads.c.target, uploads.c.path)
    return every(conn, OpenUpload, query if target is None else query.where(uploads.c.target == target))
