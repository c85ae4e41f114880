"""Journals for tests: one in memory, and one in a file, which outlives a killed process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.artifact.names import FilePath
from syncd.targets.base import HeldRange, Origin


class MemoryJournal:
    """See `syncd.targets.base.Journal`."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.crcs: dict[str, int] = {}
        self.blocks: dict[Digest, bytes] = {}
        self.leaf_digests: dict[Digest, bytes] = {}
        self.paths: dict[FilePath, Digest] = {}  # of the version, where a test is about its leaf digests
        self.holds: list[HeldRange] = []  # what tests say that sealed versions have
        self.lock = Lock()

    def find(self, path: FilePath) -> str | None:
        with self.lock:
            return self.tokens.get(path)

    def opened(self, path: FilePath, token: str) -> None:
        with self.lock:
            self.tokens[path] = token
            self.changed("opened", path, token)

    def closed(self, path: FilePath) -> None:
        with self.lock:
            self.tokens.pop(path, None)
            self.changed("closed", path, "")

    def forget(self) -> None:
        for path in list(self.tokens):
            self.closed(FilePath(path))

    def proven(self, path: FilePath, crc64: int) -> None:
        with self.lock:
            self.crcs[path] = crc64
            self.changed("proven", path, str(crc64))

    def settle(self) -> None:
        """Nothing waits here."""

    def crc64(self, path: FilePath) -> int | None:
        with self.lock:
            return self.crcs.get(path)

    def learned(self, sha256: Digest, blocks: bytes, leaves: bytes = b"") -> None:
        with self.lock:
            self.blocks[sha256] = blocks
            self.leaf_digests |= {sha256: leaves} if leaves else {}

    def leaves(self) -> dict[FilePath, bytes]:
        with self.lock:
            return {
                path: self.leaf_digests[sha256] for path, sha256 in self.paths.items() if sha256 in self.leaf_digests
            }

    def held(self, parts_max: int) -> list[HeldRange]:
        with self.lock:
            return list(self.holds)

    def told(self, manifest: Manifest) -> list[HeldRange]:
        """What a later version is told of this one, which was sealed."""
        return [
            HeldRange(Origin(manifest, e.path), e.sha256, self.crcs.get(e.path), self.blocks.get(e.sha256, b""))
            for e in manifest.entries
        ]

    def changed(self, verb: str, path: str, value: str) -> None:
        """Called with the lock held, after each change."""


class FileJournal(MemoryJournal):
    """Appends a line for each change, and reads them again when it is made."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        for line in file.read_text().splitlines() if file.exists() else ():
            verb, path, value = json.loads(line)
            if verb == "opened":
                self.tokens[path] = value
            elif verb == "closed":
                self.tokens.pop(path, None)
            else:
                self.crcs[path] = int(value)
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def changed(self, verb: str, path: str, value: str) -> None:
        os.write(self._descriptor, json.dumps([verb, path, value]).encode() + b"\n")
