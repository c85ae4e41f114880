"""Sealed versions in a directory, as syncd leaves them on a mount."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_path
from syncd.serving.leaves import LEAF_BYTES, LEAVES_FROM_BYTES, LEAVES_PATH, pack_leaves


def safetensors(tensors: Mapping[str, bytes], *, dtype: str = "U8", width: int = 1) -> bytes:
    """A safetensors file with flat tensors of these bytes."""
    header, at = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(data) // width], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def sealed(
    directory: Path,
    files: Mapping[str, bytes],
    *,
    version: str = "v1",
    leaves_from_bytes: int = LEAVES_FROM_BYTES,
) -> Manifest:
    """Write the files of a version, its leaf digests where it has files large enough, and its seal."""
    entries = []
    for path, data in files.items():
        at = directory / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(data)
        entries.append(Entry(parse_path(path), len(data), Digest(hashlib.sha256(data).hexdigest())))
    manifest = Manifest.of("sdxl", version, entries)
    (directory / ".syncd").mkdir(exist_ok=True)
    packed = {path: _leaves(data) for path, data in files.items() if len(data) >= leaves_from_bytes}
    if packed:
        (directory / LEAVES_PATH).write_bytes(pack_leaves(manifest.digest.hex, packed))
    (directory / ".syncd" / "manifest.json").write_bytes(manifest.canonical)
    return manifest


def _leaves(data: bytes) -> bytes:
    return b"".join(hashlib.sha256(data[at : at + LEAF_BYTES]).digest() for at in range(0, len(data), LEAF_BYTES))
