"""Catalog of a region in one SQLite file: buckets, objects, uploads and parts.

A row makes bytes visible: data files are written first and referenced here in one transaction, so that a
reader sees an object whole or not at all, and a killed process leaves at most unreferenced files. Committed
rows survive a process crash (write-ahead log, `synchronous=NORMAL`), not a power failure.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncd.localcloud.oss.storage.entries import (
    BlobPiece,
    BucketEntry,
    ObjectEntry,
    ObjectType,
    PartEntry,
    StoredBlob,
    UploadEntry,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
  name TEXT PRIMARY KEY, created_s REAL NOT NULL, acl TEXT NOT NULL, storage_class TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
  bucket TEXT NOT NULL REFERENCES buckets (name), key TEXT NOT NULL, etag TEXT NOT NULL, crc TEXT NOT NULL,
  modified_s REAL NOT NULL, pieces TEXT NOT NULL, kind TEXT NOT NULL, storage_class TEXT NOT NULL,
  acl TEXT NOT NULL, headers TEXT NOT NULL, tags TEXT NOT NULL, symlink_target TEXT NOT NULL,
  PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
  upload_id TEXT PRIMARY KEY, bucket TEXT NOT NULL REFERENCES buckets (name), key TEXT NOT NULL,
  initiated_s REAL NOT NULL, storage_class TEXT NOT NULL, acl TEXT NOT NULL, headers TEXT NOT NULL,
  tags TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
  upload_id TEXT NOT NULL REFERENCES uploads (upload_id) ON DELETE CASCADE, number INTEGER NOT NULL,
  blob TEXT NOT NULL, size_bytes INTEGER NOT NULL, crc TEXT NOT NULL, md5_hex TEXT NOT NULL,
  modified_s REAL NOT NULL, PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
"""


class Database:
    """One connection behind one lock: statements are short, and object bytes never pass through it."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction; rolled back by an exception. Cannot be nested."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; the number of rows it changed."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class BucketCatalog:
    """The buckets."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, name: str) -> BucketEntry | None:
        rows = self._db.rows("SELECT * FROM buckets WHERE name = ?", name)
        return BucketEntry(*rows[0]) if rows else None

    def put(self, bucket: BucketEntry) -> None:
        self._db.run(
            "INSERT INTO buckets VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET acl = excluded.acl",
            bucket.name,
            bucket.created_s,
            bucket.acl,
            bucket.storage_class,
        )

    def delete(self, name: str) -> None:
        self._db.run("DELETE FROM buckets WHERE name = ?", name)

    def is_empty(self, name: str) -> bool:
        """Whether the bucket has no object and no upload in progress."""
        return not self._db.rows("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", name) and not (
            self._db.rows("SELECT 1 FROM uploads WHERE bucket = ? LIMIT 1", name)
        )

    def all(self) -> list[BucketEntry]:
        return [BucketEntry(*row) for row in self._db.rows("SELECT * FROM buckets ORDER BY name")]


class ObjectCatalog:
    """The objects, in UTF-8 order of their keys as OSS lists them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, bucket: str, key: str) -> ObjectEntry | None:
        rows = self._db.rows("SELECT * FROM objects WHERE bucket = ? AND key = ?", bucket, key)
        return _object(rows[0]) if rows else None

    def put(self, entry: ObjectEntry) -> None:
        """Insert or replace."""
        self._db.run(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            entry.bucket,
            entry.key,
            entry.etag,
            str(entry.crc),  # unsigned 64 bits do not fit SQLite's INTEGER
            entry.modified_s,
            _dump_pieces(entry.pieces),
            entry.kind.value,
            entry.storage_class,
            entry.acl,
            json.dumps(dict(entry.headers)),
            json.dumps(dict(entry.tags)),
            entry.symlink_target,
        )

    def delete(self, bucket: str, key: str) -> None:
        self._db.run("DELETE FROM objects WHERE bucket = ? AND key = ?", bucket, key)

    def after(self, bucket: str, marker: str, floor: str, limit: int) -> list[ObjectEntry]:
        """Up to `limit` objects with keys after the marker and from `floor` on."""
        sql = "SELECT * FROM objects WHERE bucket = ? AND key > ? AND key >= ? ORDER BY key LIMIT ?"
        return [_object(row) for row in self._db.rows(sql, bucket, marker, floor, limit)]

    def has_own_acl(self, bucket: str) -> bool:
        """Whether an object of the bucket has another ACL than `default`."""
        sql = "SELECT 1 FROM objects WHERE bucket = ? AND acl <> 'default' LIMIT 1"
        return bool(self._db.rows(sql, bucket))

    def totals(self, bucket: str) -> tuple[int, int]:
        """The number of objects and their total size in bytes."""
        sql = (
            "SELECT (SELECT COUNT(*) FROM objects WHERE bucket = ?1), "
            "COALESCE(SUM(json_extract(value, '$[1]')), 0) "
            "FROM objects, json_each(objects.pieces) WHERE bucket = ?1"
        )
        objects, size = self._db.rows(sql, bucket)[0]
        return objects, size


class UploadCatalog:
    """Multipart uploads in progress, and their parts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, upload_id: str, bucket: str, key: str) -> UploadEntry | None:
        sql = "SELECT * FROM uploads WHERE upload_id = ? AND bucket = ? AND key = ?"
        rows = self._db.rows(sql, upload_id, bucket, key)
        return _upload(rows[0]) if rows else None

    def put(self, upload: UploadEntry) -> None:
        self._db.run(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            upload.upload_id,
            upload.bucket,
            upload.key,
            upload.initiated_s,
            upload.storage_class,
            upload.acl,
            json.dumps(dict(upload.headers)),
            json.dumps(dict(upload.tags)),
        )

    def delete(self, upload_id: str) -> None:
        """The upload and its parts."""
        self._db.run("DELETE FROM uploads WHERE upload_id = ?", upload_id)

    def after(self, bucket: str, marker: tuple[str, str], floor: str, limit: int) -> list[UploadEntry]:
        """Up to `limit` uploads, by key and id, after the marker and with keys from `floor` on."""
        sql = (
            "SELECT * FROM uploads WHERE bucket = ? AND (key, upload_id) > (?, ?) AND key >= ? "
            "ORDER BY key, upload_id LIMIT ?"
        )
        return [_upload(row) for row in self._db.rows(sql, bucket, *marker, floor, limit)]

    def put_part(self, upload_id: str, part: PartEntry) -> None:
        """Insert or replace."""
        stored = part.stored
        self._db.run(
            "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)",
            upload_id,
            part.number,
            stored.blob,
            stored.size_bytes,
            str(stored.crc),
            stored.md5_hex,
            part.modified_s,
        )

    def parts(self, upload_id: str, only: int = 0) -> dict[int, PartEntry]:
        """The parts by number, in order; with `only`, just that part."""
        sql = (
            "SELECT number, blob, size_bytes, crc, md5_hex, modified_s FROM parts "
            "WHERE upload_id = ? AND ? IN (0, number) ORDER BY number"
        )
        return {
            number: PartEntry(number, StoredBlob(blob, size, int(crc), md5), modified)
            for number, blob, size, crc, md5, modified in self._db.rows(sql, upload_id, only)
        }


def named_blobs(db: Database) -> set[str]:
    """Every data file that a row references."""
    blobs = {row[0] for row in db.rows("SELECT blob FROM parts")}
    for (pieces,) in db.rows("SELECT pieces FROM objects"):
        blobs.update(piece.blob for piece in _load_pieces(pieces))
    return blobs


def _dump_pieces(pieces: tuple[BlobPiece, ...]) -> str:
    return json.dumps([[piece.blob, piece.size_bytes] for piece in pieces])


def _load_pieces(text: str) -> tuple[BlobPiece, ...]:
    return tuple(BlobPiece(blob, size) for blob, size in json.loads(text))


def _object(row: tuple[Any, ...]) -> ObjectEntry:
    bucket, key, etag, crc, modified_s, pieces, kind, storage_class, acl, headers, tags, target = row
    return ObjectEntry(
        bucket,
        key,
        etag,
        int(crc),
        modified_s,
        _load_pieces(pieces),
        ObjectType(kind),
        storage_class,
        acl,
        json.loads(headers),
        json.loads(tags),
        target,
    )


def _upload(row: tuple[Any, ...]) -> UploadEntry:
    upload_id, bucket, key, initiated_s, storage_class, acl, headers, tags = row
    return UploadEntry(upload_id, bucket, key, initiated_s, storage_class, acl, json.loads(headers), json.loads(tags))
