"""An MLflow 3 server as it was captured: numbers, aliases, logged models, artifacts with ranges, without, or signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.emulators.web import Reply, Request, Web, as_json, ranged

USER, PASSWORD = "syncd", "mlflow-password"
AUTHORIZATION = "Basic c3luY2Q6bWxmbG93LXBhc3N3b3Jk"
Artifacts = Literal["local", "proxied", "signed"]


@dataclass
class Version:
    """One model version; its files lie under `root` among the artifacts."""

    row: dict[str, Any]
    root: str


@dataclass
class MlflowWeb:
    """`proxied` ignores ranges and sends chunks; `signed` gives addresses at another host."""

    artifacts: Artifacts = "local"
    page: int = 2
    versions: dict[tuple[str, str], Version] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    logged: dict[str, str] = field(default_factory=dict)
    model_tags: dict[str, dict[str, str]] = field(default_factory=dict)
    scheme: str = "mlflow-artifacts:/"

    def __post_init__(self) -> None:
        self.web = Web(self.answer)

    def register(self, model: str, number: str, files: Mapping[str, bytes], status: str = "READY") -> Version:
        identity = f"m-{hashlib.md5(f'{model} {number} {len(self.versions)}'.encode()).hexdigest()}"
        root = f"0/models/{identity}/artifacts"
        row = {
            "name": model,
            "version": number,
            "creation_timestamp": 1795292284446 + len(self.files),
            "status": status,
        }
        row |= {"current_stage": "None", "source": f"models:/{identity}", "run_link": ""}
        self.logged[identity] = "LOGGED_MODEL_READY"
        self.files |= {f"{root}/{path}": data for path, data in files.items()}
        self.versions[model, number] = Version(row, root)
        return self.versions[model, number]

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/bucket/"):
            return self._object(request)
        if request.headers.get("authorization") != AUTHORIZATION:
            return Reply(401, {"WWW-Authenticate": 'Basic realm="mlflow"', "Content-Type": "text/html"}, b"<html>")
        for prefix, answer in (("/api/2.0/mlflow/", self._api), ("/api/2.0/mlflow-artifacts/", self._artifact)):
            if request.path.startswith(prefix):
                return answer(request, request.path.removeprefix(prefix))
        return Reply(404)

    def _api(self, request: Request, call: str) -> Reply:
        query = request.query
        if call == "registered-models/search":
            names = sorted({model for model, _ in self.versions})
            return self._paged(request, "registered_models", [{"name": name} for name in names])
        if call == "registered-models/get":
            return self._model(query["name"])
        if call == "model-versions/search":
            name = query["filter"].removeprefix("name='").removesuffix("'")
            found = [version.row for (model, _), version in self.versions.items() if model == name]
            return self._paged(request, "model_versions", found[::-1])
        if call.startswith("logged-models/"):
            identity = call.removeprefix("logged-models/")
            if identity not in self.logged:
                return error(404, "RESOURCE_DOES_NOT_EXIST", f"Logged model with ID '{identity}' not found.")
            return as_json({"model": {"info": {"model_id": identity, "status": self.logged[identity]}}})
        number = query.get("version", "")
        if call == "registered-models/alias":
            if (query["name"], query["alias"]) not in self.aliases:
                return error(400, "INVALID_PARAMETER_VALUE", f"Registered model alias {query['alias']} not found.")
            number = self.aliases[query["name"], query["alias"]]
        version = self.versions.get((query["name"], number))
        if version is None:
            return error(404, "RESOURCE_DOES_NOT_EXIST", f"Model Version (name={query['name']}) not found")
        if call == "model-versions/get-download-uri":
            return as_json({"artifact_uri": f"{self.scheme}{version.root}"})
        return as_json({"model_version": version.row})

    def _model(self, name: str) -> Reply:
        if all(model != name for model, _ in self.versions):
            return error(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        tags = as_tags(self.model_tags.get(name, {}))
        return as_json({"registered_model": {"name": name, "latest_versions": [], **tags}})

    def _paged(self, request: Request, key: str, found: list[dict[str, Any]]) -> Reply:
        start = int(request.query.get("page_token", "0"))
        end = start + self.page
        more = {"next_page_token": str(end)} if end < len(found) else {}
        return as_json({key: found[start:end], **more} if found else {})

    def _artifact(self, request: Request, call: str) -> Reply:
        if call == "artifacts":
            return self._directory(request.query["path"])
        kind, _, path = call.partition("/")
        if kind == "presigned" and self.artifacts != "signed":
            return error(501, "NOT_IMPLEMENTED", "Multipart download is not supported for this artifact repository")
        if path not in self.files:
            return error(404, "RESOURCE_DOES_NOT_EXIST", f"No such artifact: {path!r}")
        data = self.files[path]
        if kind == "presigned":
            url = f"http://localhost:{self.web.port}/bucket/{path}?Signature=x"
            return as_json({"url": url, "headers": {"x-signed": "yes"}, "file_size": len(data)})
        if self.artifacts == "proxied":
            return Reply(200, {}, [data[:7], data[7:]] if len(data) > 7 else [data] if data else [])
        return ranged(request, data, f'"{hashlib.md5(data).hexdigest()}"')

    def _directory(self, directory: str) -> Reply:
        """One level, by base names; what is no directory is as empty as one that is not there."""
        found: dict[str, dict[str, Any]] = {}
        for path, data in self.files.items():
            if path.startswith(f"{directory}/"):
                name, slash, _ = path.removeprefix(f"{directory}/").partition("/")
                found[name] = {"path": name, "is_dir": True} if slash else {
                    "path": name, "is_dir": False, "file_size": len(data),
                }  # fmt: skip
        return as_json({"files": list(found.values())} if found else {})

    def _object(self, request: Request) -> Reply:
        if "authorization" in request.headers or request.headers.get("x-signed") != "yes":
            return Reply(403)
        return ranged(request, self.files[request.path.removeprefix("/bucket/")])


def as_tags(tags: Mapping[str, str]) -> dict[str, Any]:
    """As a row has them: none are left out, and so is an empty value."""
    found = [{"key": key, **({"value": value} if value else {})} for key, value in tags.items()]
    return {"tags": found} if found else {}


def error(status: int, code: str, message: str) -> Reply:
    return as_json({"error_code": code, "message": message, "sqlstate": "KAM00", "error_class": code}, status)
