"""Objects of one region's buckets: bytes as files of a tree, all else in SQLite, so that a killed region keeps both."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import crcmod

PART_BYTES_MIN: Final = 100 * 1024
PART_NUMBER_MAX: Final = 10_000
_crc64: Final[Callable[[bytes, int], int]] = crcmod.mkCrcFun(
    0x142F0E1EBA9EA3693, initCrc=0, rev=True, xorOut=0xFFFFFFFFFFFFFFFF
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (bucket TEXT, key TEXT, size INTEGER, etag TEXT, crc TEXT, modified REAL,
  headers TEXT, type TEXT, PRIMARY KEY (bucket, key));
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, bucket TEXT, key TEXT, headers TEXT, started REAL);
CREATE TABLE IF NOT EXISTS parts (upload TEXT, number INTEGER, size INTEGER, etag TEXT, crc TEXT, modified REAL,
  PRIMARY KEY (upload, number));
"""


class OssError(Exception):
    """An error of OSS with its HTTP status and code."""

    def __init__(self, status: int, code: str, message: str, **fields: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields


@dataclass(frozen=True)
class Stored:
    """The description of an object, a part or an upload. `crc` is decimal, `modified` in seconds since 1970."""

    key: str
    size: int
    etag: str
    crc: str
    modified: float
    headers: Mapping[str, str]
    type: str


def crc64(body: bytes) -> str:
    """CRC-64/XZ of bytes, as OSS writes it."""
    return str(_crc64(body, 0))


def _stored(row: tuple[Any, ...]) -> Stored:
    key, size, etag, crc, modified, headers, kind = row
    return Stored(key, size, etag, crc, modified, json.loads(headers), kind)


def _md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest().upper()


class ObjectStore:
    """The buckets of a region. Every method is atomic; threads may share it."""

    def __init__(self, root: Path, buckets: list[str]) -> None:
        self._tree = root / "oss"
        self._staging = root / "oss-staging"
        self._staging.mkdir(parents=True, exist_ok=True)
        for bucket in buckets:
            (self._tree / bucket).mkdir(parents=True, exist_ok=True)
        self.buckets: Final = frozenset(buckets)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(root / "oss.db", check_same_thread=False, isolation_level=None)
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)

    def file(self, bucket: str, key: str) -> Path:
        """Where an object's bytes are. A key that no file system can hold is not played."""
        parts = key.rstrip("/").split("/")
        if not 1 <= len(key.encode()) <= 1023 or key[0] in "/\\":
            raise OssError(400, "InvalidObjectName", f"the specified object is not valid: {key!r}")
        if any(part in {"", ".", ".."} or len(part.encode()) > 255 or "\0" in part for part in parts):
            raise OssError(501, "NotImplemented", f"a key that is no path of a file is not played: {key!r}")
        return self._tree.joinpath(bucket, *parts)

    def get(self, bucket: str, key: str) -> Stored:
        """An object.

        Raises:
            OssError: NoSuchKey.
        """
        with self._lock:
            row = self._database.execute(
                "SELECT key, size, etag, crc, modified, headers, type FROM objects WHERE bucket = ? AND key = ?",
                (bucket, key),
            ).fetchone()
        if row is None:
            raise OssError(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        return _stored(row)

    def exists(self, bucket: str, key: str) -> bool:
        with self._lock:
            query = "SELECT 1 FROM objects WHERE bucket = ? AND key = ?"
            return self._database.execute(query, (bucket, key)).fetchone() is not None

    def put(self, bucket: str, key: str, body: bytes, headers: Mapping[str, str], *, forbid_overwrite: bool) -> Stored:
        """Write an object whole.

        Raises:
            OssError: FileAlreadyExists, if overwriting is forbidden and it is there.
        """
        staged = self._staging / secrets.token_hex(8)
        staged.write_bytes(body)
        stored = Stored(key, len(body), _md5(body), crc64(body), time.time(), headers, "Normal")
        self._place(bucket, staged, stored, forbid_overwrite=forbid_overwrite)
        return stored

    def _place(self, bucket: str, staged: Path, stored: Stored, *, forbid_overwrite: bool) -> None:
        target = self.file(bucket, stored.key)
        with self._lock:
            if forbid_overwrite and self.exists(bucket, stored.key):
                staged.unlink()
                message = "The object you specified already exists and can not be overwritten."
                raise OssError(409, "FileAlreadyExists", message, Key=stored.key)
            try:
                if stored.key.endswith("/"):
                    if stored.size:
                        raise OssError(501, "NotImplemented", "a directory object with bytes is not played")
                    target.mkdir(parents=True, exist_ok=True)
                    staged.unlink()
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    staged.replace(target)
            except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
                raise OssError(
                    501, "NotImplemented", "one key that is the directory of another is not played"
                ) from error
            self._database.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(bucket, stored.key, stored.size, stored.etag, stored.crc, stored.modified),
                    *(json.dumps(dict(stored.headers)), stored.type),
                ),
            )

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there is success. Directories without objects go with it."""
        with self._lock:
            if self._database.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key)).rowcount == 0:
                return
            target = self.file(bucket, key)
            if not key.endswith("/"):
                target.unlink(missing_ok=True)
                target = target.parent
            while target != self._tree / bucket and not self._has_below(bucket, target):
                if target.is_dir():
                    target.rmdir()
                target = target.parent

    def _has_below(self, bucket: str, directory: Path) -> bool:
        prefix = directory.relative_to(self._tree / bucket).as_posix() + "/"
        query = "SELECT 1 FROM objects WHERE bucket = ? AND substr(key, 1, ?) = ? LIMIT 1"
        found = self._database.execute(query, (bucket, len(prefix), prefix)).fetchone()
        return found is not None or (directory.is_dir() and any(directory.iterdir()))

    def read(self, bucket: str, key: str, start: int, length: int) -> bytes:
        """Bytes of an object, as they are on the disk now."""
        with self.file(bucket, key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def list_objects(self, bucket: str, prefix: str, after: str) -> list[Stored]:
        """All objects with a prefix whose keys come after one, in the order of UTF-8."""
        query = (
            "SELECT key, size, etag, crc, modified, headers, type FROM objects WHERE bucket = ? AND key > ? "
            "AND substr(key, 1, ?) = ? ORDER BY key COLLATE BINARY"
        )
        with self._lock:
            rows = self._database.execute(query, (bucket, after, len(prefix), prefix)).fetchall()
        return [_stored(row) for row in rows]

    def initiate(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Begin a multipart upload and answer its id."""
        self.file(bucket, key)
        upload = secrets.token_hex(16).upper()
        (self._staging / upload).mkdir()
        with self._lock:
            row = (upload, bucket, key, json.dumps(dict(headers)), time.time())
            self._database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)", row)
        return upload

    def upload(self, bucket: str, key: str, upload: str) -> Stored:
        """An upload that is open.

        Raises:
            OssError: NoSuchUpload.
        """
        with self._lock:
            row = self._database.execute(
                "SELECT key, headers, started FROM uploads WHERE id = ? AND bucket = ? AND key = ?",
                (upload, bucket, key),
            ).fetchone()
        if row is None:
            message = "The specified upload does not exist. The upload ID might be invalid, aborted or completed."
            raise OssError(404, "NoSuchUpload", message, UploadId=upload)
        return Stored(row[0], 0, "", "", row[2], json.loads(row[1]), "Multipart")

    def put_part(self, bucket: str, key: str, upload: str, number: int, body: bytes) -> Stored:
        """Write a part; one of the same number is replaced."""
        if not 1 <= number <= PART_NUMBER_MAX:
            raise OssError(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.")
        with self._lock:
            self.upload(bucket, key, upload)
            staged = self._staging / secrets.token_hex(8)
            staged.write_bytes(body)
            staged.replace(self._staging / upload / str(number))
            part = Stored(str(number), len(body), _md5(body), crc64(body), time.time(), {}, "Part")
            row = (upload, number, part.size, part.etag, part.crc, part.modified)
            self._database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)", row)
        return part

    def parts(self, bucket: str, key: str, upload: str) -> list[Stored]:
        """The parts of an open upload, by number; `key` of each is its number."""
        with self._lock:
            self.upload(bucket, key, upload)
            query = "SELECT number, size, etag, crc, modified FROM parts WHERE upload = ? ORDER BY number"
            rows = self._database.execute(query, (upload,)).fetchall()
        return [Stored(str(row[0]), row[1], row[2], row[3], row[4], {}, "Part") for row in rows]

    def complete(
        self, bucket: str, key: str, upload: str, listed: list[tuple[int, str]], *, forbid_overwrite: bool
    ) -> Stored:
        """Make an object of the listed parts and close the upload.

        Raises:
            OssError: NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall, FileAlreadyExists.
        """
        with self._lock:
            opened = self.upload(bucket, key, upload)
            have = {int(part.key): part for part in self.parts(bucket, key, upload)}
            numbers = [number for number, _ in listed]
            if numbers != sorted(set(numbers)):
                raise OssError(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
            for number, etag in listed:
                if number not in have or have[number].etag != etag.strip('"').upper():
                    raise OssError(400, "InvalidPart", "One or more of the specified parts could not be found.")
            if not listed or any(have[number].size < PART_BYTES_MIN for number in numbers[:-1]):
                raise OssError(400, "EntityTooSmall", "Your proposed upload smaller than the minimum allowed size.")
            staged = self._staging / secrets.token_hex(8)
            checksum = 0
            with staged.open("wb") as file:
                for number in numbers:
                    body = (self._staging / upload / str(number)).read_bytes()
                    checksum = _crc64(body, checksum)
                    file.write(body)
                size = file.tell()
            etag = f"{_md5(''.join(have[number].etag for number in numbers).encode())}-{len(numbers)}"
            stored = Stored(key, size, etag, str(checksum), time.time(), opened.headers, "Multipart")
            self._place(bucket, staged, stored, forbid_overwrite=forbid_overwrite)
            self._close(upload)
        return stored

    def abort(self, bucket: str, key: str, upload: str) -> None:
        """End an upload and delete its parts.

        Raises:
            OssError: NoSuchUpload.
        """
        with self._lock:
            self.upload(bucket, key, upload)
            self._close(upload)

    def _close(self, upload: str) -> None:
        self._database.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        self._database.execute("DELETE FROM parts WHERE upload = ?", (upload,))
        shutil.rmtree(self._staging / upload, ignore_errors=True)

    def uploads(self, bucket: str, prefix: str) -> list[tuple[str, str, float]]:
        """Open uploads as (key, id, started), by key and then by id."""
        query = "SELECT key, id, started FROM uploads WHERE bucket = ? AND substr(key, 1, ?) = ? ORDER BY key, id"
        with self._lock:
            return [(row[0], row[1], row[2]) for row in self._database.execute(query, (bucket, len(prefix), prefix))]

    def mount(self, bucket: str, prefix: str) -> Path:
        """The directory of a prefix, as a function sees it.

        Raises:
            OssError: The bucket, or the object of the directory, is not there.
        """
        if bucket not in self.buckets:
            raise OssError(404, "NoSuchBucket", f"bucket not found: {bucket}")
        path = prefix.strip("/")
        if path and not self.exists(bucket, path + "/"):
            raise OssError(404, "NoSuchKey", f"bucket not found or bucket path does not exist: {bucket}:/{path}")
        return self._tree.joinpath(bucket, *(path.split("/") if path else []))

    def close(self) -> None:
        with self._lock:
            self._database.close()
