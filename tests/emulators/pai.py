"""The API of PAI's AI Workspace, as far as models are read: paged, and only for whoever signs. Its client is the SDK.

The names of all keys are those of the SDK; nothing public shows an answer of the service.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from syncd.localcloud.fc.api.acs3 import SignedCall, verify
from syncd.localcloud.fc.errors import FcError

from tests.emulators.web import Reply, Request, Web, as_json
from tests.support.clouds import KEY_ID, KEY_SECRET

WORKSPACE: Final = "796"
_PATH: Final = re.compile(r"/api/v1/models(?:/(?P<model>[^/]+)/versions(?:/(?P<version>[^/]+))?)?")


@dataclass(frozen=True)
class _Key:
    access_key_secret: str = KEY_SECRET
    security_token: str = ""
    expires_at_s: float = float("inf")


@dataclass
class PaiWeb:
    """One workspace. At most `page_max` rows are in an answer, whatever is asked for."""

    page_max: int = 100
    models: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._made = datetime(2026, 11, 1, tzinfo=UTC)
        self.web = Web(self._answer)

    def register(self, name: str, version: str, uri: str, status: str = "Approved") -> dict[str, Any]:
        """A version, of a model that is made if there is none of that name; one that is there changes its status."""
        self._made += timedelta(minutes=1)
        rows = self.versions[self.model(name)]
        row = next((row for row in rows if row["VersionName"] == version), None)
        if row is None:
            row = {"VersionName": version, "Uri": uri, "GmtCreateTime": f"{self._made:%Y-%m-%dT%H:%M:%SZ}"}
            rows.append(row)
        row["ApprovalStatus"] = status
        return row

    def model(self, name: str) -> str:
        """Its id."""
        found = next((row["ModelId"] for row in self.models if row["ModelName"] == name), None)
        return found or self.add_model(name)

    def add_model(self, name: str) -> str:
        """Another model, whether or not there is one of that name."""
        identity = f"model-{len(self.models):03}"
        self.models.append({"ModelId": identity, "ModelName": name, "WorkspaceId": WORKSPACE})
        self.versions[identity] = []
        return identity

    def find(self, access_key_id: str, /) -> _Key | None:
        """See `acs3.Keys`."""
        return _Key() if access_key_id == KEY_ID else None

    def _answer(self, request: Request) -> Reply:
        header = request.headers
        try:
            query, path = tuple(request.query.items()), quote(request.path)
            call = SignedCall(request.method, path, query, lambda name: header.get(name, ""), request.body)
            verify(call, self, time.time())
        except FcError as error:
            return refused(error.status, error.code, error.message)
        match = _PATH.fullmatch(request.path)
        if match is None or header.get("x-acs-version") != "2021-02-04":
            return refused(404, "InvalidAction.NotFound", "no such action")
        if match["model"] is None:
            name, workspace = request.query.get("ModelName"), request.query.get("WorkspaceId")
            found = [row for row in self.models if name in {None, row["ModelName"]} and workspace == WORKSPACE]
            return self._page(request, "Models", found)
        rows = self.versions.get(match["model"])
        if rows is None:
            return refused(404, "ModelNotFound", "there is no such model")
        if match["version"] is None:
            wanted = request.query.get("ApprovalStatus")
            return self._page(request, "Versions", [r for r in rows if wanted in {None, r["ApprovalStatus"]}])
        for row in rows:
            if row["VersionName"] == match["version"]:
                return as_json({**row, "RequestId": "r-1"})
        return refused(404, "ModelVersionNotFound", "there is no such version")

    def _page(self, request: Request, key: str, rows: Sequence[object]) -> Reply:
        size = min(int(request.query["PageSize"]), self.page_max)
        start = (int(request.query["PageNumber"]) - 1) * size
        return as_json({key: rows[start : start + size], "TotalCount": len(rows), "RequestId": "r-1"})


def refused(status: int, code: str, message: str) -> Reply:
    """An error as the platform's gateway says it."""
    return as_json({"Code": code, "Message": message, "RequestId": "r-1"}, status)
