"""The conformance suite, bound to a JSON index, with digests and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from syncd.registry.base import Registry
from syncd.registry.settings import IndexSettings
from syncd.registry.sources.index import IndexRegistry

from tests.conformance.registry import RegistryConformance
from tests.unit.registry.webs import IndexWeb, http_to


class IndexConformance(RegistryConformance):
    digests = True

    @pytest.fixture(autouse=True)
    def index(self) -> Iterator[IndexWeb]:
        self._index = IndexWeb()
        self._index.digests = self.digests
        with self._index.web:
            yield self._index

    @pytest.fixture
    def registry(self, index: IndexWeb) -> Registry:
        return IndexRegistry(IndexSettings(index.url, ("*", "*/*")), http_to(index.web))

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._index.models.get(model, {}).pop(version, None)
        self._index.add(model, version, files)

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._index.add(model, version, files, ready=False)

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        rows = self._index.models[model][version]["files"]
        rows[[row["path"] for row in rows].index(path)] = self._index.row(path, data)
        self._index.files[f"/{model}/{version}/{path}"] = data

    def cut_off(self) -> None:
        self._index.web.stop()


class TestWithDigests(IndexConformance):
    pass


class TestWithout(IndexConformance):
    digests = False
