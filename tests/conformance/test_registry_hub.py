"""The conformance suite, bound to a Hub and to a mirror of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from syncd.errors import NotFound
from syncd.http.auth import BearerAuth
from syncd.registry.base import Registry
from syncd.registry.settings import HubSettings
from syncd.registry.sources.huggingface import HubRegistry, explain
from syncd.secret import Secret

from tests.conformance.registry import RegistryConformance
from tests.emulators.hub import TOKEN, HubWeb
from tests.unit.registry.webs import http_to


class TestHub(RegistryConformance):
    unfinished = (NotFound,)
    pins_are_content = True
    mirror = False

    @pytest.fixture(autouse=True)
    def hub(self) -> Iterator[HubWeb]:
        self._hub = HubWeb()
        self._hub.mirror = self.mirror
        with self._hub.web:
            yield self._hub

    @pytest.fixture
    def registry(self, hub: HubWeb) -> Registry:
        settings = HubSettings(hub.web.origin, ("sdxl", "team/*", "unheard-of"))
        return HubRegistry(settings, http_to(hub.web, BearerAuth(Secret(TOKEN)), explain=explain))

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._hub.commit(model, files, version)

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._hub.commit(model, files)

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        repository = self._hub.repositories[model]
        self._hub.commit(model, {**repository.commits[repository.tags[version]], path: data}, version)

    def cut_off(self) -> None:
        self._hub.web.stop()


class TestMirror(TestHub):
    mirror = True
