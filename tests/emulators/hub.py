"""A Hugging Face Hub as it was captured: refs, trees in pages, files that lead to another host."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.emulators.web import Reply, Request, Web, as_json, ranged

TOKEN = "hf_test-token"


@dataclass
class Repository:
    """Commits by sha, oldest first; a commit is its files."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)


def sha1_of(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HubWeb:
    """Everybody needs the token, but for the host that large files lie on: who brings it there is turned away."""

    def __init__(self, page: int = 2) -> None:
        self.repositories: dict[str, Repository] = {}
        self.page = page
        self.mirror = False  # a mirror sends large files itself
        self.web = Web(self.answer)

    def commit(self, model: str, files: Mapping[str, bytes], tag: str = "") -> str:
        repository = self.repositories.setdefault(model, Repository())
        number = sum(len(each.commits) for each in self.repositories.values())
        sha = hashlib.sha1(f"{model} {number}".encode()).hexdigest()
        repository.commits[sha] = dict(files)
        repository.branches["main"] = sha
        if tag:
            repository.tags[tag] = sha
        return sha

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/cdn/"):
            return self._large(request)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _refusal(401, "RepoNotFound", "Invalid username or password.")
        if request.path.startswith("/api/models/"):
            return self._api(request, request.path.removeprefix("/api/models/"))
        if request.path == "/api/models":
            owner = request.query["author"]
            return as_json([{"id": name} for name in self.repositories if name.startswith(f"{owner}/")])
        model, _, rest = request.path[1:].partition("/resolve/")
        commit, _, path = rest.partition("/")
        return self._file(request, model, commit, path)

    def _api(self, request: Request, rest: str) -> Reply:
        for verb in ("refs", "revision", "tree"):
            model, found, after = rest.partition(f"/{verb}")
            if found:
                if model not in self.repositories:
                    return _refusal(404, "RepoNotFound", "Repository not found")
                return self._of(request, verb, model, after.strip("/"))
        return _refusal(404, "RepoNotFound", "Repository not found")

    def _of(self, request: Request, verb: str, model: str, revision: str) -> Reply:
        repository = self.repositories[model]
        if verb == "refs":
            kinds = {"tags": repository.tags, "branches": repository.branches}
            return as_json(
                {k: [{"name": n, "ref": n, "targetCommit": c} for n, c in refs.items()] for k, refs in kinds.items()}
            )
        commit = repository.tags.get(revision) or repository.branches.get(revision) or revision
        if commit not in repository.commits:
            return _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if verb == "revision":
            age = list(repository.commits).index(commit)
            files = [{"rfilename": path} for path in repository.commits[commit]]
            told = {"id": model, "sha": commit, "lastModified": f"2026-11-21T20:{age:02}:00.000Z", "siblings": files}
            return as_json(told)
        return self._tree(request, repository.commits[commit])

    def _tree(self, request: Request, files: Mapping[str, bytes]) -> Reply:
        directories = {path.rpartition("/")[0] for path in files if "/" in path}
        listed = [*(row(path, data) for path, data in files.items())]
        listed += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in directories]
        start = int(request.query.get("cursor", "0"))
        end = start + self.page
        # A mirror leaves the Hub's own host in it.
        here = f"<https://hub.invalid{request.path}?recursive=true&cursor={end}>"
        more = {"Link": f'{here}; rel="next"'} if end < len(listed) else {}
        return as_json(listed[start:end], headers=more)

    def _file(self, request: Request, model: str, commit: str, path: str) -> Reply:
        files = self.repositories[model].commits[commit] if model in self.repositories else {}
        if path not in files:
            return _refusal(404, "EntryNotFound", "Entry not found")
        data = files[path]
        told = {"X-Repo-Commit": commit}
        sha256 = hashlib.sha256(data).hexdigest()
        if not is_large(path) or self.mirror:
            sent = ranged(request, data, f'"{sha256 if is_large(path) else sha1_of(data)}"')
            return replace(sent, headers={**sent.headers, **told})
        place = f"http://localhost:{self.web.port}/cdn/{sha256}?Signature=x"
        return Reply(302, {**told, "X-Linked-Etag": f'"{sha256}"', "Location": place})

    def _large(self, request: Request) -> Reply:
        if "authorization" in request.headers or not request.headers["host"].startswith("localhost"):
            return Reply(400)
        digest = request.path.removeprefix("/cdn/")
        everything = (
            data for r in self.repositories.values() for files in r.commits.values() for data in files.values()
        )
        return ranged(request, next(data for data in everything if hashlib.sha256(data).hexdigest() == digest))


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def row(path: str, data: bytes) -> dict[str, Any]:
    if not is_large(path):
        return {"type": "file", "oid": sha1_of(data), "size": len(data), "path": path}
    large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 132}
    return {"type": "file", "oid": "1" * 40, "size": len(data), "path": path, "lfs": large, "xetHash": "2" * 64}


def _refusal(status: int, code: str, message: str) -> Reply:
    return as_json({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})
