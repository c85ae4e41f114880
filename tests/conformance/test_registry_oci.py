"""The conformance suite, bound to Docker's registry: public, with users, and with tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from syncd.errors import NotFound
from syncd.http.auth import BasicAuth
from syncd.http.client import HttpClient, HttpSettings
from syncd.registry.base import Registry
from syncd.registry.oci.auth import OciAuth
from syncd.registry.oci.registry import OciRegistry
from syncd.registry.settings import OciSettings
from syncd.secret import Secret

from tests.conformance.registry import RegistryConformance
from tests.emulators.distribution import PASSWORD, USER, Distribution, Login, digest, distribution
from tests.emulators.tars import KIT, layer_of, packed, tar_of
from tests.unit.registry.webs import ONCE


@pytest.mark.needs_docker_registry
class TestOpen(RegistryConformance):
    unfinished = (NotFound,)
    pins_are_content = True
    login: Login = ""
    layout = "oras"

    @pytest.fixture(autouse=True)
    def distribution(self, tmp_path: Path) -> Iterator[Distribution]:
        with distribution(tmp_path, self.login) as self._registry:
            yield self._registry

    @pytest.fixture
    def registry(self, distribution: Distribution) -> Registry:
        settings = OciSettings(distribution.origin, self.models(), "models/")
        access = OciAuth(distribution.origin, BasicAuth(USER, Secret(PASSWORD)) if self.login else None)
        return OciRegistry(settings, HttpClient(HttpSettings(distribution.origin, 5, policy=ONCE), access))

    def models(self) -> tuple[str, ...]:
        return ("*", "*/*")

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._registry.push(f"models/{model}", version, files, self.layout)

    def begin(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._registry.push_blobs(f"models/{model}", list(files.values()))

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        with self._registry.client(f"models/{model}") as client:
            accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
            manifest = client.get(f"/v2/models/{model}/manifests/{version}", headers=accept).json()
        for layer in manifest["layers"]:
            if path in layer["annotations"].values():
                layer |= {"digest": digest(data), "size": len(data)}
        self._registry.push_layers(f"models/{model}", version, manifest["layers"], [data], {})

    def cut_off(self) -> None:
        self._registry.stop()


class TestTars(TestOpen):
    """A version is one tar, as KitOps packs it."""

    kind = KIT

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        self._pushed = {**getattr(self, "_pushed", {}), (model, version): files}
        self._number = getattr(self, "_number", 0) + 1
        blob = self.blob(files)
        notes = {"org.opencontainers.image.created": f"2026-11-21T20:{self._number:02}:00Z"}
        self._registry.push_layers(f"models/{model}", version, [layer_of(blob, self.kind)], [blob], notes)

    def overwrite(self, model: str, version: str, path: str, data: bytes) -> None:
        self.publish(model, version, {**self._pushed[model, version], path: data})

    def blob(self, files: Mapping[str, bytes]) -> bytes:
        return tar_of(files)


class TestPackedTars(TestTars):
    kind = f"{KIT}+gzip"

    def blob(self, files: Mapping[str, bytes]) -> bytes:
        return packed(tar_of(files))


class TestUsers(TestOpen):
    login = "htpasswd"
    layout = "modelpack"


class TestTokens(TestOpen):
    """A repository's token does not cover the catalogue, so the models are named."""

    login = "token"

    def models(self) -> tuple[str, ...]:
        return ("sdxl", "team/lora", "unheard-of")
