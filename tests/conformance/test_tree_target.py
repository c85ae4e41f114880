"""A tree keeps the promise of a target over every store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from syncd.localcloud.server import LocalCloud
from syncd.store.memory import MemoryStore, StoredObject
from syncd.store.nas.store import STAGING, NasSettings, NasStore
from syncd.targets.versioned_tree import TreeTarget

from tests.conformance.puts import TargetPutsConformance
from tests.conformance.target import TargetConformance
from tests.conformance.target_copies import TargetCopyConformance
from tests.support.clouds import REGION, RawBucket, cloud_at


class TestTreeInMemory(TargetConformance, TargetPutsConformance, TargetCopyConformance):
    @pytest.fixture
    def target(self) -> TreeTarget:
        self.store = MemoryStore()
        return TreeTarget("memory", self.store)

    def raw_read(self, key: str) -> bytes | None:
        held = self.store.objects.get(key)
        return held.data if held else None

    def raw_write(self, key: str, data: bytes) -> None:
        self.store.objects[key] = StoredObject(data, datetime.now(UTC))

    def raw_delete(self, key: str) -> None:
        del self.store.objects[key]

    def raw_keys(self) -> set[str]:
        return {key for key in self.store.objects if not key.endswith("/")}

    def raw_uploads(self) -> int:
        return len(self.store.uploads)


class TestTreeOnNas(TargetConformance, TargetPutsConformance, TargetCopyConformance):
    @pytest.fixture
    def target(self, tmp_path: Path) -> TreeTarget:
        self.root = tmp_path
        return TreeTarget("nas", NasStore(NasSettings(tmp_path)))

    def raw_read(self, key: str) -> bytes | None:
        return (self.root / key).read_bytes() if (self.root / key).exists() else None

    def raw_write(self, key: str, data: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(data)

    def raw_delete(self, key: str) -> None:
        (self.root / key).unlink()

    def raw_keys(self) -> set[str]:
        files = (file.relative_to(self.root) for file in self.root.rglob("*") if file.is_file())
        return {str(file) for file in files if file.parts[0] != STAGING}

    def raw_uploads(self) -> int:
        return len(list((self.root / STAGING).glob("*.key")))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with cloud_at(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


class TestTreeOnOss(TargetConformance, TargetPutsConformance, TargetCopyConformance):
    @pytest.fixture
    def target(self, cloud: LocalCloud) -> TreeTarget:
        self.bucket = RawBucket(cloud.endpoint(REGION))
        return TreeTarget("oss", self.bucket.store(prefix="team/"))

    def raw_read(self, key: str) -> bytes | None:
        return self.bucket.read(f"team/{key}")

    def raw_write(self, key: str, data: bytes) -> None:
        self.bucket.write(f"team/{key}", data)

    def raw_delete(self, key: str) -> None:
        self.bucket.client.delete_object(f"team/{key}")

    def raw_keys(self) -> set[str]:
        return {key.removeprefix("team/") for key in self.bucket.all_keys() if not key.endswith("/")}

    def raw_uploads(self) -> int:
        return len(self.bucket.uploads())
