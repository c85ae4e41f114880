"""The conformance suite, bound to ModelScope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from syncd.http.auth import CookieAuth
from syncd.registry.base import Registry
from syncd.registry.settings import ModelScopeSettings
from syncd.registry.sources.modelscope import COOKIE, ModelScopeRegistry, explain
from syncd.secret import Secret

from tests.conformance.registry import RegistryConformance
from tests.emulators.modelscope import TOKEN, ModelScopeWeb
from tests.unit.registry.webs import http_to


class TestModelScope(RegistryConformance):
    @pytest.fixture(autouse=True)
    def modelscope(self) -> Iterator[ModelScopeWeb]:
        self._modelscope = ModelScopeWeb()
        with self._modelscope.web:
            yield self._modelscope

    @pytest.fixture
    def registry(self, modelscope: ModelScopeWeb) -> Registry:
        settings = ModelScopeSettings(modelscope.web.origin, ("sdxl", "team/*", "unheard-of"))
        return ModelScopeRegistry(settings, http_to(modelscope.web, CookieAuth(Secret(TOKEN), COOKIE), explain=explain))

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._modelscope.tag(model, version, files)

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._modelscope.tag(model, version, files, in_check=True)

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        self._modelscope.models[model].tags[version].files[path] = data

    def cut_off(self) -> None:
        self._modelscope.web.stop()
