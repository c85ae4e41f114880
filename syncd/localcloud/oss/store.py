"""What the operations of one region work on: names, bytes, and the regions beside it."""

import errno
import fcntl
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from syncd.localcloud.oss.blobs import BlobDirectory
from syncd.localcloud.oss.catalog import BucketTable, Database, ObjectTable, UploadTable, named_blobs
from syncd.localcloud.oss.errors import access_denied, file_already_exists, no_such_bucket, no_such_key
from syncd.localcloud.oss.values import BucketEntry, ObjectEntry, Piece


@dataclass(slots=True)
class Store:
    """A region's state. Safe to use from any thread; `transaction` makes several looks and writes one."""

    region: str
    owner: str
    domain: str
    db: Database
    buckets: BucketTable
    objects: ObjectTable
    uploads: UploadTable
    blobs: BlobDirectory
    lock: IO[bytes]
    peers: Mapping[str, "Store"] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path, region: str, owner: str, domain: str) -> "Store":
        """Open or create the state under `root`; files left by a killed process are removed.

        Raises:
            OSError: Another process, or another cloud of this one, has it open.
        """
        root.mkdir(parents=True, exist_ok=True)
        lock = _locked(root / "lock")
        db = Database(root / "catalog.sqlite")
        blobs = BlobDirectory(root / "data")
        blobs.sweep(named_blobs(db))
        return cls(region, owner, domain, db, BucketTable(db), ObjectTable(db), UploadTable(db), blobs, lock)

    @property
    def location(self) -> str:
        return f"oss-{self.region}"

    def bucket(self, name: str) -> BucketEntry:
        """The bucket.

        Raises:
            OssError: It is nowhere, or in another region.
        """
        bucket = self.buckets.get(name)
        if bucket is not None:
            return bucket
        home = self.home_of(name)
        if home is None:
            raise no_such_bucket(name)
        raise access_denied(
            "The bucket you are attempting to access must be addressed using the specified endpoint. "
            "Please send all future requests to this endpoint.",
            "0003-00001403",
            Bucket=name,
            Endpoint=f"{home.location}.{self.domain}",
        )

    def home_of(self, name: str) -> "Store | None":
        """The other region that has the bucket; bucket names are unique across regions."""
        others = (peer for peer in self.peers.values() if peer is not self)
        return next((peer for peer in others if peer.buckets.get(name)), None)

    def object(self, bucket: str, key: str) -> ObjectEntry:
        """The object.

        Raises:
            OssError: The bucket or the key is not there.
        """
        entry = self.objects.get(bucket, key)
        if entry is None:
            self.bucket(bucket)
            raise no_such_key(key)
        return entry

    def publish(self, entry: ObjectEntry, *, forbid_overwrite: bool, ec: str = "0026-00000011") -> None:
        """Make an object visible whole, in place of what was there.

        Its bytes are taken over, even on refusal.

        Raises:
            OssError: The bucket is gone, or `forbid_overwrite` and the key is taken (`ec` is the error's
            EC).
        """
        try:
            with self.db.transaction():
                old = self.replace(entry, "" if not forbid_overwrite else ec)
        except BaseException:
            self.blobs.discard(entry.pieces)
            raise
        self.blobs.discard(old)

    def replace(self, entry: ObjectEntry, forbid_ec: str = "") -> tuple[Piece, ...]:
        """Put the row; for use inside a transaction. The pieces no longer named, to be discarded after it.

        Raises:
            OssError: The bucket is gone, or `forbid_ec` is given and the key is taken.
        """
        self.bucket(entry.bucket)
        old = self.objects.get(entry.bucket, entry.key)
        if old is not None and forbid_ec:
            raise file_already_exists(entry.key, forbid_ec)
        self.objects.put(entry)
        kept = {piece.blob for piece in entry.pieces}
        return tuple(piece for piece in old.pieces if piece.blob not in kept) if old else ()

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object; whether there was one."""
        with self.db.transaction():
            old = self.objects.get(bucket, key)
            self.objects.delete(bucket, key)
        if old is not None:
            self.blobs.discard(old.pieces)
        return old is not None

    def one_piece(self, bucket: str, key: str) -> Piece:
        """The object as a single data file: one uploaded in parts is joined, once and for good.

        Raises:
            OssError: The bucket or the key is not there.
        """
        with self.db.transaction():
            entry = self.object(bucket, key)
            if len(entry.pieces) == 1:
                return entry.pieces[0]
            whole = self.blobs.join(entry.pieces)
            self.objects.put(replace(entry, pieces=(whole,)))
        self.blobs.discard(entry.pieces)
        return whole

    def link(self, bucket: str, key: str, path: Path) -> None:
        """Make `path` a hard link to the object's bytes, or a copy where the file system cannot.

        Raises:
            OssError: The bucket or the key is not there.
        """
        while True:
            source = self.blobs.path(self.one_piece(bucket, key).blob)
            try:
                os.link(source, path)
            except FileNotFoundError:
                continue  # the object was replaced just now
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(source, path)
            return

    def close(self) -> None:
        self.db.close()
        self.lock.close()


def _locked(path: Path) -> IO[bytes]:
    """Hold the state: a second owner would sweep away what this one is receiving. Ends with the process."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BlockingIOError(errno.EAGAIN, "in use by another local cloud", str(path.parent)) from error
    return file
