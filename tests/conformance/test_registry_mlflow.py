"""The conformance suite, bound to MLflow: artifacts on its own disk, proxied from a store, and signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from syncd.http.auth import BasicAuth
from syncd.registry.base import Registry
from syncd.registry.settings import MlflowSettings
from syncd.registry.sources.mlflow import MlflowRegistry, explain
from syncd.secret import Secret

from tests.conformance.registry import RegistryConformance
from tests.emulators.mlflow import PASSWORD, USER, Artifacts, MlflowWeb
from tests.unit.registry.webs import http_to


class TestLocal(RegistryConformance):
    numbered = ""
    artifacts: Artifacts = "local"

    @pytest.fixture(autouse=True)
    def mlflow(self) -> Iterator[MlflowWeb]:
        self._mlflow = MlflowWeb(self.artifacts)
        with self._mlflow.web:
            yield self._mlflow

    @pytest.fixture
    def registry(self, mlflow: MlflowWeb) -> Registry:
        settings = MlflowSettings(mlflow.web.origin, ("*", "*/*"), ready_file="config.json")
        return MlflowRegistry(settings, http_to(mlflow.web, BasicAuth(USER, Secret(PASSWORD)), explain=explain))

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._mlflow.register(model, version, files)

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._mlflow.register(model, version, files, "PENDING_REGISTRATION")

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        self._mlflow.files[f"{self._mlflow.versions[model, version].root}/{path}"] = data

    def cut_off(self) -> None:
        self._mlflow.web.stop()


class TestProxied(TestLocal):
    """No length and no ranges: a wrong file is detected when it is read."""

    artifacts = "proxied"


class TestSigned(TestLocal):
    artifacts = "signed"
