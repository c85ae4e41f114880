"""The conformance suite, bound to a prefix of a bucket with each kind of marker; every request is signed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Conflict, NotFound
from syncd.localcloud.server import LocalCloud
from syncd.registry.base import Registry
from syncd.registry.settings import PrefixSettings
from syncd.registry.sources.oss_prefix import PrefixRegistry
from syncd.values.source import Location

from tests.conformance.registry import RegistryConformance
from tests.support.clouds import REGION, RawBucket
from tests.support.sources import rest_of


class PrefixConformance(RegistryConformance):
    marker = "READY"
    prefix = ""

    @pytest.fixture(autouse=True)
    def cloud(self, tmp_path: Path) -> Iterator[LocalCloud]:
        self._later_s = 0
        with LocalCloud(tmp_path / "cloud", (REGION,), clock=lambda: time.time() + self._later_s) as self._cloud:
            self._bucket = RawBucket(self._cloud.endpoint(REGION))
            yield self._cloud
            self._bucket.client.session.session.close()

    @pytest.fixture
    def registry(self, cloud: LocalCloud) -> Registry:
        settings = PrefixSettings(self._bucket.name, REGION, self.prefix, ("*", "*/*"))
        return PrefixRegistry(settings, self._bucket.store(prefix=self.prefix))

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self.begin(model, version, files)
        self._later_s += 2  # OSS tells times in seconds
        self._bucket.write(f"{self.prefix}{model}/{version}/{self.marker}", self.marks(files))

    def marks(self, files: Mapping[str, bytes]) -> bytes:
        return b""

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            self._bucket.write(f"{self.prefix}{model}/{version}/{path}", data)

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        self._bucket.write(f"{self.prefix}{model}/{version}/{path}", data)

    def cut_off(self) -> None:
        self._cloud.stop()

    def test_a_part_of_an_object_of_another_size_is_a_conflict(self, registry: Registry) -> None:
        self.publish("sdxl", "v1", {"w.bin": b"x" * 1000})
        model, path = ModelName("sdxl"), FilePath("w.bin")
        revision = registry.resolve(model, "v1")
        with registry.open(model, revision, path, 0, until_bytes=100) as stream:
            assert rest_of(stream) == b"x" * 100
        self.overwrite("sdxl", "v1", "w.bin", b"x" * 999)
        with pytest.raises(Conflict, match=r"expected 1000 bytes .*as pinned, got"):
            registry.open(model, revision, path, 100, until_bytes=200)


class TestReady(PrefixConformance):
    def test_the_location_of_a_file_has_its_full_key(self, registry: Registry) -> None:
        self.publish("sdxl", "v1", {"unet/w.bin": b"12345"})
        revision = registry.resolve(ModelName("sdxl"), "v1")
        found = registry.location_of(ModelName("sdxl"), revision, FilePath("unet/w.bin"))
        assert found == Location(REGION, self._bucket.name, f"{self.prefix}sdxl/v1/unet/w.bin")
        with pytest.raises(NotFound):
            registry.location_of(ModelName("sdxl"), revision, FilePath("none"))


class TestSums(PrefixConformance):
    marker = "SHA256SUMS"
    prefix = "team a/ü/"

    def marks(self, files: Mapping[str, bytes]) -> bytes:
        return "".join(f"{sha256(data).hexdigest()}  {path}\n" for path, data in files.items()).encode()


class TestManifest(PrefixConformance):
    marker = "MANIFEST.json"
    changed_is_unfinished = True
    prefix = "models/"

    def marks(self, files: Mapping[str, bytes]) -> bytes:
        rows = [{"path": path, "size": len(data), "sha256": sha256(data).hexdigest()} for path, data in files.items()]
        return json.dumps({"files": rows}).encode()
