"""The store in memory keeps the promise of a store."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from syncd.artifact.parts import Part
from syncd.store.base import Store, Upload
from syncd.store.memory import MemoryStore, StoredObject

from tests.conformance.copies import CopyConformance
from tests.conformance.puts import StorePutsConformance
from tests.conformance.store import StoreConformance


class TestMemoryStore(StoreConformance, StorePutsConformance, CopyConformance):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    def raw_read(self, store: Store, key: str) -> bytes | None:
        held = _memory(store).objects.get(key)
        return held.data if held else None

    def raw_write(self, store: Store, key: str, data: bytes) -> None:
        _memory(store).objects[key] = StoredObject(data, datetime.now(UTC))

    def raw_keys(self, store: Store) -> set[str]:
        return set(_memory(store).objects)

    def damage_part(self, store: Store, upload: Upload, part: Part) -> None:
        parts = _memory(store).uploads[upload.token].parts
        parts[part.number] = b"!" + parts[part.number][1:]

    def again(self, store: Store) -> Store:
        return store


def _memory(store: Store) -> MemoryStore:
    assert isinstance(store, MemoryStore)
    return store
