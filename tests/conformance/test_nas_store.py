"""A mounted directory keeps the promise of a store."""

from __future__ import annotations

from pathlib import Path

import pytest
from syncd.artifact.parts import Part
from syncd.store.base import Store, Upload
from syncd.store.nas.store import STAGING, NasSettings, NasStore

from tests.conformance.copies import CopyConformance
from tests.conformance.puts import StorePutsConformance
from tests.conformance.store import StoreConformance


class TestNasStore(StoreConformance, StorePutsConformance, CopyConformance):
    many = 30  # a directory has no pages

    @pytest.fixture(autouse=True)
    def root(self, tmp_path: Path) -> Path:
        self._root = tmp_path
        return tmp_path

    @pytest.fixture
    def store(self, root: Path) -> NasStore:
        return NasStore(NasSettings(root))

    def raw_read(self, store: Store, key: str) -> bytes | None:
        file = self._root / key
        return file.read_bytes() if file.is_file() else None

    def raw_write(self, store: Store, key: str, data: bytes) -> None:
        file = self._root / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def raw_keys(self, store: Store) -> set[str]:
        files = (file.relative_to(self._root) for file in self._root.rglob("*") if file.is_file())
        return {str(file) for file in files if file.parts[0] != STAGING}

    def damage_part(self, store: Store, upload: Upload, part: Part) -> None:
        with (self._root / STAGING / f"{upload.token}.data").open("r+b") as file:
            file.seek(part.offset_bytes)
            byte = file.read(1)
            file.seek(part.offset_bytes)
            file.write(bytes([byte[0] ^ 1]))

    def again(self, store: Store) -> Store:
        return NasStore(NasSettings(self._root))
