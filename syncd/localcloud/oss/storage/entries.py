"""Rows of the catalog as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")
BUCKET_ACLS = ("private", "public-read", "public-read-write")
OBJECT_ACLS = ("default", *BUCKET_ACLS)


class ObjectType(StrEnum):
    """The values of `x-oss-object-type`."""

    NORMAL = "Normal"
    MULTIPART = "Multipart"
    APPENDABLE = "Appendable"
    SYMLINK = "Symlink"


@dataclass(frozen=True, slots=True)
class BlobPiece:
    """A section of an object's bytes: one data file, by its id in the blob directory."""

    blob: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """Received bytes on disk that no row references yet."""

    blob: str
    size_bytes: int
    crc: int
    md5_hex: str

    @property
    def piece(self) -> BlobPiece:
        return BlobPiece(self.blob, self.size_bytes)


@dataclass(frozen=True, slots=True)
class BucketEntry:
    name: str
    created_s: float
    acl: str = "private"
    storage_class: str = "Standard"


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object. `headers` are those a GET repeats: content headers and `x-oss-meta-*`."""

    bucket: str
    key: str
    etag: str  # without quotes
    crc: int
    modified_s: float
    pieces: tuple[BlobPiece, ...] = ()
    kind: ObjectType = ObjectType.NORMAL
    storage_class: str = "Standard"
    acl: str = "default"
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    symlink_target: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(piece.size_bytes for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class UploadEntry:
    """A multipart upload in progress, with the metadata of its future object."""

    upload_id: str
    bucket: str
    key: str
    initiated_s: float
    storage_class: str
    acl: str
    headers: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartEntry:
    number: int
    stored: StoredBlob
    modified_s: float
