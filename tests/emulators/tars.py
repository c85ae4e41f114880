"""Tars as the tools of others write them, for layers of images."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from collections.abc import Mapping
from typing import Any

from tests.emulators.distribution import digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # the same, from there

KIT = "application/vnd.kitops.modelkit.model.v1.tar"
MODELPACK = "application/vnd.cncf.model.weight.v1.tar"


def tar_of(files: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002 -- as there
    """With the directories that the files lie in."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for directory in sorted({path.rpartition("/")[0] for path in files if "/" in path}):
            entry = tarfile.TarInfo(directory)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def tar_with(name: str, kind: bytes, link: str = "", data: bytes = b"") -> bytes:
    """A tar of one entry, of whatever kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, link, len(data)
        tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def layer_of(blob: bytes, kind: str = KIT, notes: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(blob), "size": len(blob), "annotations": dict(notes or {})}


def packed(data: bytes, packing: str = "gzip") -> bytes:
    return zstd.compress(data, 3) if packing == "zstd" else gzip.compress(data, 1, mtime=0)


def packed_with_window(data: bytes, log: int) -> bytes:
    """By zstd, as of unknown length, so that whoever unpacks it needs a window of that many bytes, a power of two."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    return packer.compress(data) + packer.flush()
