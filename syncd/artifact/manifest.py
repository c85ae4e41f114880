"""Manifest: every file of a version with its size and SHA-256. Its own digest is the version's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.names import (
    FilePath,
    ModelName,
    VersionName,
    parse_model,
    parse_path,
    parse_paths,
    parse_version,
)
from syncd.errors import Invalid

FORMAT: Final = "syncd/manifest/v1"
SEAL_PATH: Final = ".syncd/manifest.json"
MODELS_DIRECTORY: Final = "models"


def directory_of(model: str, version: str, digest: Digest) -> str:
    """The directory of a version's files: `models/<model>/<version>-<digest12>`, without a final slash."""
    return f"{MODELS_DIRECTORY}/{model}/{version}-{digest.short}"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One file of a version."""

    path: FilePath
    size_bytes: int
    sha256: Digest

    def __post_init__(self) -> None:
        parse_path(self.path)
        if self.size_bytes < 0:
            raise Invalid(f"{self.path}: expected a size of at least 0 bytes, got {self.size_bytes}")


@dataclass(frozen=True)
class Manifest:
    """The files of a version, in the order of their paths."""

    model: ModelName
    version: VersionName
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, model: str, version: str, entries: Iterable[Entry]) -> Manifest:
        """Build a manifest. Raises Invalid: a name is refused, two names collide, or there are no files."""
        ordered = tuple(sorted(entries))
        if not ordered:
            raise Invalid(f"{model}@{version} has no files")
        parse_paths(entry.path for entry in ordered)
        return cls(parse_model(model), parse_version(version), ordered)

    @cached_property
    def canonical(self) -> bytes:
        """The bytes that are hashed and stored in the seal: compact JSON, keys sorted, files sorted, one newline."""
        document = {
            "files": [{"path": e.path, "sha256": e.sha256.hex, "size": e.size_bytes} for e in self.entries],
            "format": FORMAT,
            "model": self.model,
            "version": self.version,
        }
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return text.encode() + b"\n"

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of `canonical`: the version's identity."""
        return Digest(hashlib.sha256(self.canonical).hexdigest())

    @cached_property
    def directory(self) -> str:
        """The directory of its files below a target's root, as by `directory_of`."""
        return directory_of(self.model, self.version, self.digest)

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Parse the output of `canonical`, of this or any earlier release of syncd.

        Raises:
            Invalid: It is not a manifest, or has a format that this release does not know.
        """
        try:
            document = json.loads(data)
            found = document["format"]
            if found != FORMAT:
                raise Invalid(f"expected the manifest format {FORMAT!r}, got {found!r}", hint="upgrade syncd")
            entries = [
                Entry(parse_path(file["path"]), int(file["size"]), Digest(file["sha256"])) for file in document["files"]
            ]
            return cls.of(document["model"], document["version"], entries)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise Invalid(f"not a manifest: {error!r}") from error
