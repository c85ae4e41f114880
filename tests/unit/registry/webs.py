"""Emulators of foreign registries, in this process, which answer as the captured ones do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from syncd.http.auth import Auth
from syncd.http.client import HttpClient, HttpSettings
from syncd.retry import Retry

from tests.emulators.web import Reply, Request, Web, ranged

ONCE = Retry(attempts_max=1)


def http_to(web: Web, access: Auth | None = None, **more: Any) -> HttpClient:
    """A client without retries, so that tests need not wait."""
    return HttpClient(HttpSettings(web.origin, timeout_s=5, policy=ONCE), access, **more)


class IndexWeb:
    """A JSON index with the files beside it."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.web = Web(self.answer)
        self.digests = True

    @property
    def url(self) -> str:
        return f"{self.web.origin}/index.json"

    def add(self, model: str, version: str, files: Mapping[str, bytes], **more: Any) -> None:
        versions = self.models.setdefault(model, {})
        listed = [self.row(path, data) for path, data in files.items()]
        versions[version] = {"version": version, "files": listed, **more}
        for path, data in files.items():
            self.files[f"/{model}/{version}/{path}"] = data

    def row(self, path: str, data: bytes) -> dict[str, Any]:
        sha256 = {"sha256": hashlib.sha256(data).hexdigest()} if self.digests else {}
        return {"path": path, "size": len(data), **sha256}

    def document(self) -> bytes:
        models = [{"name": name, "versions": list(versions.values())} for name, versions in self.models.items()]
        return json.dumps({"schema": "syncd/v1", "models": models}).encode()

    def answer(self, request: Request) -> Reply:
        if request.path == "/index.json":
            body = self.document()
            etag = f'"{hashlib.md5(body).hexdigest()}"'
            if request.headers.get("if-none-match") == etag:
                return Reply(304, {"ETag": etag})
            return Reply(200, {"ETag": etag}, body)
        data = self.files.get(request.path)
        return Reply(404) if data is None else ranged(request, data, f'"{hashlib.md5(data).hexdigest()}"')
