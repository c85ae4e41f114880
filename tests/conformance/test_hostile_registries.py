"""Each registry over HTTP against a hostile server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from syncd.artifact.names import FilePath
from syncd.errors import Conflict, Corrupt, Invalid, Unavailable
from syncd.http.auth import BasicAuth, BearerAuth, CookieAuth
from syncd.http.client import HttpClient, HttpSettings
from syncd.registry.base import Registry
from syncd.registry.oci.auth import OciAuth
from syncd.registry.oci.registry import OciRegistry
from syncd.registry.rules.filtered import Source
from syncd.registry.settings import HubSettings, IndexSettings, MlflowSettings, ModelScopeSettings, OciSettings
from syncd.registry.sources.huggingface import HubRegistry, explain
from syncd.registry.sources.index import IndexRegistry
from syncd.registry.sources.mlflow import MlflowRegistry
from syncd.registry.sources.mlflow import explain as mlflow_explain
from syncd.registry.sources.modelscope import COOKIE, ModelScopeRegistry
from syncd.registry.sources.modelscope import explain as modelscope_explain
from syncd.secret import Secret

from tests.conformance.hostile import BYTES_MAX, DATA, SDXL, HostileConformance
from tests.conformance.registry import read
from tests.emulators import mlflow as mlflow_server
from tests.emulators import modelscope as modelscope_web
from tests.emulators.distribution import PASSWORD, USER, Distribution, digest, distribution, layer
from tests.emulators.hub import TOKEN, HubWeb
from tests.emulators.mlflow import MlflowWeb
from tests.emulators.modelscope import ModelScopeWeb
from tests.emulators.web import Reply, Request, Web, as_json
from tests.unit.registry.webs import ONCE, IndexWeb


def settings(web: Web) -> HttpSettings:
    return HttpSettings(web.origin, 5, ONCE, BYTES_MAX)


class TestIndex(HostileConformance):
    @pytest.fixture(autouse=True)
    def index(self) -> Iterator[IndexWeb]:
        self._index = IndexWeb()
        self.web = self._index.web
        with self.web:
            yield self._index

    @pytest.fixture
    def registry(self, index: IndexWeb) -> Source:
        http = HttpClient(settings(self.web), BasicAuth("syncd", Secret("hunter2")))
        return IndexRegistry(IndexSettings(index.url), http)

    def offer(self, files: Sequence[tuple[str, bytes]]) -> None:
        self._index.add("sdxl", "v1", dict(files))

    def is_listing(self, request: Request) -> bool:
        return request.path == "/index.json"

    def is_file(self, request: Request) -> bool:
        return request.path.startswith("/sdxl/")

    @pytest.mark.parametrize("url", ["http://169.254.169.254/x", "//100.100.100.200/x"])
    def test_an_address_in_the_index_that_is_a_machines_metadata_is_refused(self, registry: Registry, url: str) -> None:
        self._index.models["sdxl"] = {
            "v1": {"version": "v1", "files": [{"path": "w", "size": 5, "url": url}]},
        }
        revision = self.resolve(registry)
        with pytest.raises(Invalid, match="metadata"):
            registry.open(SDXL, revision, FilePath("w"))

    def test_an_etag_that_is_not_a_valid_header_value_is_not_sent(self, registry: Registry) -> None:
        self._index.digests = False  # then an ETag is all there is to say that the bytes are the same
        revision = self.ready(registry)

        def odd(request: Request) -> Reply:
            reply = self._index.answer(request)
            return replace(reply, headers={**reply.headers, "ETag": '"\xe9"'})

        self.web.faults.append(odd)
        assert [self.resolve(registry) for _ in range(2)] == [revision] * 2
        assert read(registry, SDXL, revision, "w") == DATA
        assert read(registry, SDXL, revision, "w", 100) == DATA[100:]

    def test_an_etag_that_changes_while_a_file_is_read_is_a_conflict(self, registry: Registry) -> None:
        self._index.digests = False  # with digests these alone decide
        revision = self.ready(registry)
        with registry.open(SDXL, revision, FilePath("w")):
            pass
        self._index.files["/sdxl/v1/w"] = DATA[::-1]  # as long as before
        with pytest.raises(Conflict, match="ETag"):
            registry.open(SDXL, revision, FilePath("w"), 100)


class TestHub(HostileConformance):
    @pytest.fixture(autouse=True)
    def hub(self) -> Iterator[HubWeb]:
        self._hub = HubWeb(page=50)
        self.web = self._hub.web
        with self.web:
            yield self._hub

    @pytest.fixture
    def registry(self, hub: HubWeb) -> Source:
        http = HttpClient(settings(self.web), BearerAuth(Secret(TOKEN)), explain)
        return HubRegistry(HubSettings(self.web.origin, ("sdxl",)), http)

    def offer(self, files: Sequence[tuple[str, bytes]]) -> None:
        self._hub.commit("sdxl", dict(files), "v1")

    def is_listing(self, request: Request) -> bool:
        return "/tree/" in request.path

    def is_file(self, request: Request) -> bool:
        return "/resolve/" in request.path

    def test_pages_without_end_are_refused(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("syncd.http.client.PAGES_MAX", 20)
        self.offer([("w", DATA)])
        more = {"Link": f'<{self.web.origin}/api/models/sdxl/tree/x?cursor=1>; rel="next"'}
        self.web.faults.append(lambda request: as_json([], headers=more) if self.is_listing(request) else None)
        with pytest.raises(Invalid, match="does not end"):
            self.resolve(registry)


class TestModelScope(HostileConformance):
    @pytest.fixture(autouse=True)
    def modelscope(self) -> Iterator[ModelScopeWeb]:
        self._modelscope = ModelScopeWeb()
        self.web = self._modelscope.web
        with self.web:
            yield self._modelscope

    @pytest.fixture
    def registry(self, modelscope: ModelScopeWeb) -> Source:
        http = HttpClient(settings(self.web), CookieAuth(Secret(modelscope_web.TOKEN), COOKIE), modelscope_explain)
        return ModelScopeRegistry(ModelScopeSettings(self.web.origin, ("sdxl",)), http)

    def offer(self, files: Sequence[tuple[str, bytes]]) -> None:
        self._modelscope.tag("sdxl", "v1", dict(files))

    def is_listing(self, request: Request) -> bool:
        return request.path.endswith("/repo/files")

    def is_file(self, request: Request) -> bool:
        return request.path.endswith("/repo")


class TestMlflow(HostileConformance):
    nothing_is = (Unavailable,)

    @pytest.fixture(autouse=True)
    def mlflow(self) -> Iterator[MlflowWeb]:
        self._mlflow = MlflowWeb()
        self.web = self._mlflow.web
        with self.web:
            yield self._mlflow

    @pytest.fixture
    def registry(self, mlflow: MlflowWeb) -> Source:
        http = HttpClient(
            settings(self.web), BasicAuth(mlflow_server.USER, Secret(mlflow_server.PASSWORD)), mlflow_explain
        )
        return MlflowRegistry(MlflowSettings(self.web.origin, ("sdxl",), ready_file=""), http)

    def offer(self, files: Sequence[tuple[str, bytes]]) -> None:
        """In one directory, as listed by a server that does not check its own names."""
        root = self._mlflow.register("sdxl", "1", dict(files)).root
        self._mlflow.aliases["sdxl", "v1"] = "1"
        listed = [{"path": name, "is_dir": False, "file_size": len(data)} for name, data in files]
        top = as_json({"files": listed})
        self.web.faults.append(
            lambda request: top if self.is_listing(request) and request.query["path"] == root else None
        )

    def is_listing(self, request: Request) -> bool:
        return request.path == "/api/2.0/mlflow-artifacts/artifacts"

    def is_file(self, request: Request) -> bool:
        return request.path.startswith("/api/2.0/mlflow-artifacts/artifacts/")

    def test_directories_without_end_are_refused(self, registry: Registry) -> None:
        self.offer([("w", DATA)])
        more = as_json({"files": [{"path": "evil", "is_dir": True}]})
        self.web.faults.append(lambda request: more if self.is_listing(request) else None)
        with pytest.raises(Invalid, match="deeper than"):
            self.resolve(registry)

    @pytest.mark.parametrize("uri", ["https://[", "mlflow-artifacts://[/x", "s3://b/x", "x"])
    def test_a_location_outside_the_servers_artifacts_is_refused(self, registry: Registry, uri: str) -> None:
        self.offer([("w", DATA)])
        place = as_json({"artifact_uri": uri})
        self.web.faults.append(lambda request: place if request.path.endswith("/get-download-uri") else None)
        with pytest.raises(Invalid, match="is at"):
            self.resolve(registry)

    def test_a_signed_address_that_is_a_machines_metadata_is_refused(self, registry: Registry) -> None:
        revision = self.ready(registry)
        signed = as_json({"url": "http://100.100.100.200/latest/", "headers": {}})
        self.web.faults.append(lambda request: signed if "/presigned/" in request.path else None)
        with pytest.raises(Invalid, match="metadata"):
            registry.open(SDXL, revision, FilePath("w"))


@pytest.mark.needs_docker_registry
class TestOci(HostileConformance):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def distribution(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with distribution(tmp_path_factory.mktemp("blobs"), "htpasswd") as cls.real:
            yield

    real: Distribution

    @pytest.fixture(autouse=True)
    def between(self, tmp_path: Path) -> Iterator[None]:
        with httpx.Client(base_url=self.real.origin, trust_env=False, verify=False) as client:

            def forward(request: Request) -> Reply:
                headers = {name: value for name, value in request.headers.items() if name != "host"}
                answer = client.request(request.method, request.path, params=request.query, headers=headers)
                headers = {name.title(): value for name, value in answer.headers.items()}
                return Reply(answer.status_code, headers, answer.content)

            self.web = Web(forward)
            with self.web:
                yield

    @pytest.fixture
    def registry(self, between: None) -> Source:
        access = OciAuth(self.web.origin, BasicAuth(USER, Secret(PASSWORD)))
        return OciRegistry(OciSettings(self.web.origin, ("sdxl",)), HttpClient(settings(self.web), access))

    def offer(self, files: Sequence[tuple[str, bytes]]) -> None:
        layers = [layer("modelpack", name, data) for name, data in files]
        self.real.push_layers("sdxl", "v1", layers, [data for _, data in files], {})

    def is_listing(self, request: Request) -> bool:
        return "/manifests/" in request.path

    def is_file(self, request: Request) -> bool:
        return "/blobs/" in request.path

    def test_a_manifest_that_is_not_its_digest_is_corrupt(self, registry: Registry) -> None:
        self.offer([("w", DATA)])
        forged = json.dumps({"layers": [layer("oras", "w", b"")]}).encode()
        assert digest(forged) == f"sha256:{hashlib.sha256(forged).hexdigest()}"
        self.web.faults.append(lambda request: Reply(200, {}, forged) if "/manifests/sha256" in request.path else None)
        with pytest.raises(Corrupt, match="expected the manifest"):
            self.resolve(registry)
