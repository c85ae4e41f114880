"""ModelScope as it was captured: envelopes with codes, listings that end at 3000, ranges answered with 200."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.web import Reply, Request, Web, as_json, ranged

TOKEN = "ms_test-token"
_NO_SUCH = 10010205001


@dataclass
class Tag:
    files: dict[str, bytes]
    made: int
    in_check: bool = False


@dataclass
class Model:
    """Tags by name."""

    tags: dict[str, Tag] = field(default_factory=dict)


class ModelScopeWeb:
    """Everybody needs the token, as a Bearer token and in the cookie; large files lie on another host."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.made = 1_795_292_791
        self.listing_max = 3000
        self.region = ""  # whoever asks is in this region of Alibaba Cloud
        self.web = Web(self.answer)

    def tag(self, model: str, name: str, files: Mapping[str, bytes], *, in_check: bool = False) -> None:
        self.made += 60
        self.models.setdefault(model, Model()).tags[name] = Tag(dict(files), self.made, in_check)

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/oss/"):
            return self._large(request)
        if request.path == "/region":
            return Reply(200, {}, f"{self.region}\n".encode())
        if request.path == "/api/v1/repos/internalAccelerationInfo":
            return _data({"InternalRegionQueryAddress": f"{self.web.origin}/region"} if self.region else {})
        known = request.headers.get("authorization") == f"Bearer {TOKEN}"
        if not known or request.headers.get("cookie") != f"m_session_id={TOKEN}":
            return as_json({"Code": 10010205003, "Message": "not logged in", "Success": False}, 401)
        if request.path == "/openapi/v1/models":
            return self._owned(request)
        name, _, verb = "/".join(request.path.split("/")[4:6]), "", "/".join(request.path.split("/")[6:])
        if verb not in {"revisions", "repo/files", "repo"}:  # a model without an owner, in tests only
            name, verb = request.path.split("/")[4], "/".join(request.path.split("/")[5:])
        model = self.models.get(name)
        if model is None:
            return _no_such(f"model {name} not found")
        if verb == "revisions":
            tags = [{"Revision": tag, "CreatedAt": each.made} for tag, each in model.tags.items()]
            return _data({"RevisionMap": {"Branches": [{"Revision": "master", "CreatedAt": 1}], "Tags": tags}})
        tag = model.tags.get(request.query["Revision"])
        if tag is None:
            return _no_such(f"revision {request.query['Revision']} not found")
        return self._listed(request, tag) if verb == "repo/files" else self._file(request, tag)

    def _owned(self, request: Request) -> Reply:
        owner, page, size = (request.query[key] for key in ("owner", "page_number", "page_size"))
        found = [{"id": name, "private": False} for name in self.models if name.startswith(f"{owner}/")]
        start = (int(page) - 1) * int(size)
        data = {"models": found[start : start + int(size)], "total_count": len(found), "page_number": int(page)}
        return as_json({"success": True, "request_id": "r", "data": data})

    def _listed(self, request: Request, tag: Tag) -> Reply:
        short = [path for path in tag.files if len(path) < 5000]
        directories = {path[:at] for path in short for at, letter in enumerate(path) if letter == "/"}
        entries = [row(path, data, tag) for path, data in tag.files.items()]
        entries += [{"Path": path, "Name": path, "Type": "tree", "Size": 0, "Sha256": ""} for path in directories]
        root = request.query.get("Root", "")
        if request.query.get("Recursive") != "True":
            entries = [each for each in entries if each["Path"].rpartition("/")[0] == root]
        elif root:
            entries = [each for each in entries if each["Path"].startswith(f"{root}/")]
        return _data({"Files": entries[: self.listing_max], "IsVisual": 0})

    def _file(self, request: Request, tag: Tag) -> Reply:
        path = request.query["FilePath"]
        if path not in tag.files:
            return as_json({"Code": _NO_SUCH, "Message": f"{path} not found", "Success": False})
        data = tag.files[path]
        if not path.endswith(".safetensors"):
            return Reply(200, {"Content-Type": "application/octet-stream"}, data)
        sha256 = hashlib.sha256(data).hexdigest()
        where = {
            "Location": f"http://localhost:{self.web.port}/oss/{sha256}?Signature=x",
            "X-Linked-Size": str(len(data)),
        }
        return Reply(302, {**where, "X-Linked-ETag": f'"{sha256}"'})

    def _large(self, request: Request) -> Reply:
        if {"authorization", "cookie"} & request.headers.keys():
            return Reply(400)
        sha256 = request.path.removeprefix("/oss/")
        files = (data for m in self.models.values() for tag in m.tags.values() for data in tag.files.values())
        found = ranged(request, next(data for data in files if hashlib.sha256(data).hexdigest() == sha256))
        return Reply(200 if found.status == 206 else found.status, found.headers, found.body)


def row(path: str, data: bytes, tag: Tag) -> dict[str, Any]:
    """An entry of a listing."""
    return {
        "Name": path.rpartition("/")[2],
        "Path": path,
        "Type": "blob",
        "Size": len(data),
        "Sha256": hashlib.sha256(data).hexdigest(),
        "IsLFS": path.endswith(".safetensors"),
        "InCheck": tag.in_check,
        "Revision": "9f271f714255a035ce239c76876b096eeedafaf2",
    }


def _data(data: Mapping[str, Any]) -> Reply:
    return as_json({"Code": 200, "Data": data, "Message": "success", "RequestId": "req-1", "Success": True})


def _no_such(message: str) -> Reply:
    return as_json({"Code": _NO_SUCH, "Message": message, "Success": False}, 404)
