"""Versions on disk, as training pipelines write them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath

THEN_S = 1_700_000_000  # long ago: everything here has been left alone for a while


def write(directory: Path, files: Mapping[str, bytes], mtime_s: int = THEN_S) -> Path:
    """Files below `directory`, all with one time."""
    for path, data in files.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        os.utime(place, (mtime_s, mtime_s))
    return directory


def mark(directory: Path, marker: str) -> Path:
    """Mark the version complete, in one of the supported ways; returns the path of the marker."""
    files = {str(p.relative_to(directory)): p for p in sorted(directory.rglob("*")) if p.is_file()}
    if marker == "SHA256SUMS":
        out = subprocess.run(["sha256sum", "--", *files], cwd=directory, check=True, capture_output=True).stdout
        return _written(directory / marker, out)
    if marker == "MANIFEST.json":
        rows = [{"path": n, "size": p.stat().st_size, "sha256": _sha256(p)} for n, p in files.items()]
        return _written(directory / marker, json.dumps({"files": rows}).encode())
    if marker == "syncd/manifest/v1":
        model, version = str(directory.parent).rpartition("models/")[2], directory.name
        entries = [Entry(FilePath(n), p.stat().st_size, Digest(_sha256(p))) for n, p in files.items()]
        return _written(directory / "MANIFEST.json", Manifest.of(model, version, entries).canonical)
    return _written(directory / marker, b"")


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.utime(path, (THEN_S, THEN_S))
    return path
