"""State of one region: catalog, data files, and the other regions."""

import errno
import fcntl
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from syncd.localcloud.oss.errors import access_denied, file_already_exists, no_such_bucket, no_such_key
from syncd.localcloud.oss.storage.blobs import BlobDirectory
from syncd.localcloud.oss.storage.catalog import BucketCatalog, Database, ObjectCatalog, UploadCatalog, named_blobs
from syncd.localcloud.oss.storage.entries import BlobPiece, BucketEntry, ObjectEntry


@dataclass(slots=True)
class RegionStore:
    """A region's state. Thread-safe; use `db.transaction` for several reads and writes at once."""

    region: str
    owner: str
    domain: str
    db: Database
    buckets: BucketCatalog
    objects: ObjectCatalog
    uploads: UploadCatalog
    blobs: BlobDirectory
    lock: IO[bytes]
    peers: Mapping[str, "RegionStore"] = field(default_factory=dict)
    port: int = 0  # that the region listens on, once it does

    @classmethod
    def open(cls, root: Path, region: str, owner: str, domain: str) -> "RegionStore":
        """Open or create the state below `root`. Deletes files that a killed process left.

        Raises:
            OSError: Another process, or another cloud of this process, has the state open.
        """
        root.mkdir(parents=True, exist_ok=True)
        lock = _locked(root / "lock")
        db = Database(root / "catalog.sqlite")
        blobs = BlobDirectory(root / "data")
        blobs.sweep(named_blobs(db))
        return cls(region, owner, domain, db, BucketCatalog(db), ObjectCatalog(db), UploadCatalog(db), blobs, lock)

    @property
    def location(self) -> str:
        return f"oss-{self.region}"

    def endpoints(self, host: str) -> tuple[str, str]:
        """The external and the internal endpoint, in the form of the Host by which a client reached any region.

        A client that follows them gets here: an IP address or `localhost` has one port per region; below a domain
        the region is in the name.
        """
        name, _, port = host.partition(":")
        domain = next((each for each in (self.domain, "localhost") if name.lower().endswith(f".{each}")), "")
        if not domain:
            own = f"{name or '127.0.0.1'}:{self.port}"
            return own, own
        suffix = f":{self.port}" if port else ""
        return f"{self.location}.{domain}{suffix}", f"{self.location}-internal.{domain}{suffix}"

    def bucket(self, name: str) -> BucketEntry:
        """The bucket.

        Raises:
            OssError: The bucket does not exist, or is in another region.
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
            Endpoint=f"{home.location}.{self.domain}:{home.port}",
        )

    def home_of(self, name: str) -> "RegionStore | None":
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
        """Make an object visible atomically, replacing an earlier one.

        Takes ownership of the bytes, even on error.

        Raises:
            OssError: The bucket does not exist, or `forbid_overwrite` and the key exists (`ec` is the error's
            EC).
        """
        try:
            with self.db.transaction():
                old = self.replace(entry, "" if not forbid_overwrite else ec)
        except BaseException:
            self.blobs.discard(entry.pieces)
            raise
        self.blobs.discard(old)

    def replace(self, entry: ObjectEntry, forbid_ec: str = "") -> tuple[BlobPiece, ...]:
        """Put the row, inside a transaction. Returns the unreferenced pieces, to be discarded after it.

        Raises:
            OssError: The bucket does not exist, or `forbid_ec` is given and the key exists.
        """
        self.bucket(entry.bucket)
        old = self.objects.get(entry.bucket, entry.key)
        if old is not None and forbid_ec:
            raise file_already_exists(entry.key, forbid_ec)
        self.objects.put(entry)
        kept = {piece.blob for piece in entry.pieces}
        return tuple(piece for piece in old.pieces if piece.blob not in kept) if old else ()

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object. Returns whether it existed."""
        with self.db.transaction():
            old = self.objects.get(bucket, key)
            self.objects.delete(bucket, key)
        if old is not None:
            self.blobs.discard(old.pieces)
        return old is not None

    def as_single_blob(self, bucket: str, key: str) -> BlobPiece:
        """The object as a single data file; a multipart object is joined, permanently.

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
        """Make `path` a hard link to the object's bytes, or a copy on another file system.

        Raises:
            OssError: The bucket or the key is not there.
        """
        while True:
            source = self.blobs.path(self.as_single_blob(bucket, key).blob)
            try:
                os.link(source, path)
            except FileNotFoundError:
                continue  # the object was replaced meanwhile
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(source, path)
            return

    def close(self) -> None:
        self.db.close()
        self.lock.close()


def _locked(path: Path) -> IO[bytes]:
    """Lock the state until the process ends: a second process would delete files that this one is receiving."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BlockingIOError(errno.EAGAIN, "in use by another local cloud", str(path.parent)) from error
    return file
