"""The conformance suite, bound to a PAI workspace with the vendor's own SDK, its files in a bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from syncd.artifact.names import FilePath, ModelName
from syncd.localcloud.server import LocalCloud
from syncd.registry.base import Registry
from syncd.values.source import Location

from tests.conformance.registry import RegistryConformance
from tests.emulators.pai import PaiWeb
from tests.support.clouds import REGION, RawBucket
from tests.unit.registry.workspaces import registry_of


class TestWorkspace(RegistryConformance):
    numbered = "0.1."

    @pytest.fixture
    def pai(self) -> Iterator[PaiWeb]:
        self._pai = PaiWeb()
        with self._pai.web:
            yield self._pai

    @pytest.fixture
    def cloud(self, tmp_path: Path) -> Iterator[LocalCloud]:
        with LocalCloud(tmp_path / "cloud", (REGION,), clock=time.time) as self._cloud:
            self._bucket = RawBucket(self._cloud.endpoint(REGION))
            yield self._cloud
            self._bucket.client.session.session.close()

    @pytest.fixture
    def registry(self, pai: PaiWeb, cloud: LocalCloud) -> Registry:
        del cloud
        return registry_of(pai, self._bucket, "*", "*/*")

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._write(model, version, files, "Approved")

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._write(model, version, files, "Pending")

    def _write(self, model: str, version: str, files: Mapping[str, bytes], status: str) -> None:
        prefix = f"out/{model}/{version}/"
        for path, data in files.items():
            self._bucket.write(f"{prefix}{path}", data)
        uri = f"oss://{self._bucket.name}.oss-{REGION}-internal.aliyuncs.com/{prefix}"
        self._pai.register(model, version, uri, status)

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        self._bucket.write(f"out/{model}/{version}/{path}", data)

    def cut_off(self) -> None:
        self._pai.web.stop()
        self._cloud.stop()

    def test_the_location_of_a_file_has_its_versions_bucket(self, registry: Registry) -> None:
        self.publish("sdxl", self.v(1), {"unet/w.bin": b"12345"})
        revision = registry.resolve(ModelName("sdxl"), self.v(1))
        found = registry.location_of(ModelName("sdxl"), revision, FilePath("unet/w.bin"))
        assert found == Location(REGION, self._bucket.name, f"out/sdxl/{self.v(1)}/unet/w.bin")
