"""Leaf digests, `.syncd/leaves-v1`: SHA-256 of every MiB of the large files of a version.

With them several threads can read stripes of one file and check each piece as it arrives; the SHA-256 of a whole
file can only be computed from its start to its end. syncd writes the file before the seal, from the same read that
proved the file's SHA-256. It belongs to one manifest, whose digest it names; the manifest does not know of it.

The form: JSON with sorted keys and one newline. `leaves` has the digests of a file one after another, in base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

LEAVES_PATH = ".syncd/leaves-v1"
LEAF_BYTES = 1 << 20
LEAVES_FROM_BYTES = 64 << 20  # smaller files are read before a second stripe would help
_FORMAT = "syncd/leaves/v1"
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class LeafTable:
    """The leaf digests of a version, by path."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    leaf_bytes: int = LEAF_BYTES

    def of(self, path: str, size_bytes: int) -> tuple[bytes, ...]:
        """The digests of a file; none where they are not exactly as many as its size asks for."""
        packed = self.files.get(path, b"")
        if len(packed) != leaf_count(size_bytes, self.leaf_bytes) * _DIGEST_BYTES:
            return ()
        return tuple(packed[n : n + _DIGEST_BYTES] for n in range(0, len(packed), _DIGEST_BYTES))


class LeafHasher:
    """Makes the leaf digests of a file while its bytes pass. Not thread-safe."""

    def __init__(self) -> None:
        self._made: list[bytes] = []
        self._sha256, self._left_bytes = hashlib.sha256(), LEAF_BYTES

    def update(self, data: memoryview) -> None:
        """The next bytes of the file."""
        while len(data):
            taken = data[: self._left_bytes]
            self._sha256.update(taken)
            self._left_bytes -= len(taken)
            data = data[len(taken) :]
            if not self._left_bytes:
                self._made.append(self._sha256.digest())
                self._sha256, self._left_bytes = hashlib.sha256(), LEAF_BYTES

    def digests(self) -> bytes:
        """The digests of all leaves, one after another; the last leaf may be shorter."""
        last = [self._sha256.digest()] if self._left_bytes < LEAF_BYTES else []
        return b"".join((*self._made, *last))


def leaf_count(size_bytes: int, leaf_bytes: int = LEAF_BYTES) -> int:
    """How many leaves a file of this size has."""
    return -(-size_bytes // leaf_bytes)


def pack_leaves(digest: str, files: Mapping[str, bytes]) -> bytes:
    """The bytes of `.syncd/leaves-v1` of the version with this digest. The same arguments give the same bytes."""
    document = {
        "files": {path: base64.b64encode(packed).decode() for path, packed in files.items()},
        "format": _FORMAT,
        "leaf_bytes": LEAF_BYTES,
        "manifest": digest,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def parse_leaves(data: bytes, digest: str) -> LeafTable:
    """Parse the output of `pack_leaves`. Empty if it is damaged or another version's: files are then hashed whole."""
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT or document["manifest"] != digest:
            return LeafTable()
        leaf_bytes = int(document["leaf_bytes"])
        files = {str(path): base64.b64decode(text, validate=True) for path, text in document["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return LeafTable()
    is_aligned = leaf_bytes > 0 and leaf_bytes % (1 << 20) == 0
    return LeafTable(files, leaf_bytes) if is_aligned else LeafTable()
