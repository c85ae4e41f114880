"""A registry that is the Hugging Face Hub, or a mirror of it: tags are versions, commits are pins.

A commit never changes, so what is read by its sha is what was pinned. Files that the Hub keeps as large ones come
with their sha256; the others with git's own sha1, which is checked while they are read.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from syncd.artifact.digest import Digest
from syncd.artifact.names import ModelName, VersionName, parse_path, parse_version
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse
from syncd.http.download import ExpectedFile
from syncd.http.responses import list_at, object_at, printable, retry_after_s, size_at, text_at
from syncd.registry.listing_cache import FILES_MAX, Files, KeyedCache, Remote, files_of, version_name
from syncd.registry.pinned import OwnedRegistry
from syncd.registry.settings import HubSettings
from syncd.values.source import Revision, SourceFile, Stream
from syncd.values.times import parse_time

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REFS_MAX: Final = 10_000
_MODELS_MAX: Final = 10_000
_GONE: Final = frozenset({"RepoNotFound", "RevisionNotFound", "EntryNotFound"})


class HubRegistry(OwnedRegistry):
    """Models of a Hub. Only reads; safe from several threads."""

    def __init__(self, settings: HubSettings, http: HttpClient) -> None:
        """`http` is made with `explain` of this module."""
        super().__init__(settings.models)
        self._settings = settings
        self._http = http
        self._dates: KeyedCache[float] = KeyedCache()

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a tag, a branch or a commit's whole sha; the newest is of the newest commit.

        The version of a tag is named like it; that of a branch or a commit is named by the commit, since a branch
        goes on.
        """
        if ref is None:
            revisions = self._aged(model)
            if not revisions:
                raise Unavailable(f"{model} has no version yet", hint="tag a commit, or set `branch`")
            return revisions[-1]
        tags, branches = self._refs(model)
        if ref in tags:
            return Revision(ref, tags[ref])
        return _of_commit(branches[ref] if ref in branches else self._commit(model, ref))

    def _open(self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int) -> Stream:
        """What was not read from its beginning is not held against git's sha1."""
        del model, revision
        path, size_bytes = found.file.path, found.file.size_bytes
        url, _, sha1 = found.url.partition("#")
        stream = self._http.open(HttpRequest(url), ExpectedFile(path, size_bytes), offset_bytes)
        return stream if offset_bytes or not sha1 else _GitStream(stream, path, size_bytes, sha1)

    def _of_owner(self, owner: str) -> Iterator[str]:
        ask = HttpRequest(f"{self._settings.endpoint}/api/models?author={quote(owner, safe='')}")
        count = 0
        for answer in self._http.pages(ask):
            for each in list_at(answer.json(), f"the models of {owner}", _MODELS_MAX):
                count += 1
                if count > _MODELS_MAX:
                    raise Invalid(f"{owner} has more than {_MODELS_MAX} models", hint="name those that are wanted")
                yield text_at(object_at(each, f"a model of {owner}"), "id", f"a model of {owner}")

    def _versions(self, model: ModelName) -> Iterator[VersionName]:
        return (revision.version for revision in self._aged(model))

    def _aged(self, model: ModelName) -> list[Revision]:
        """Every version, oldest commit first."""
        tags, branches = self._refs(model)
        found = []
        for name, commit in tags.items():
            try:
                found.append(Revision(version_name(name), commit))
            except Invalid as error:
                self._refusals.tell(f"{model}@{name}", error, error.hint)
        head = branches.get(self._settings.branch)
        if head and head not in tags.values():
            found.append(_of_commit(head))
        dates = {revision.pin: self._date(model, revision.pin) for revision in found}
        return sorted(found, key=lambda revision: (dates[revision.pin], revision.version))

    def _date(self, model: ModelName, commit: str) -> float:
        """When a commit was made, in seconds since 1970. One without a time that can be read is the oldest."""
        return self._dates.find(f"{model}/{commit}", lambda: self._read_date(model, commit))

    def _read_date(self, model: ModelName, commit: str) -> float:
        what = f"{model}@{commit}"
        text = text_at(self._info(model, commit), "lastModified", what)
        made = parse_time(text)
        if made is None:
            self._refusals.tell(what, Invalid(f"lastModified is {text[:80]!r}, not an RFC 3339 time: it is not used"))
            return -math.inf
        return made.timestamp()

    def _refs(self, model: ModelName) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Tags and branches, each with its commit."""
        what = f"the refs of {model}"
        document = object_at(self._http.look(HttpRequest(f"{self._api(model)}/refs")).json(), what)
        return _commits(document.get("tags"), what), _commits(document.get("branches"), what)

    def _commit(self, model: ModelName, ref: VersionName) -> str:
        if not _COMMIT.fullmatch(ref):
            raise NotFound(f"{model} has no tag, branch or commit {ref}")
        sha = text_at(self._info(model, ref), "sha", f"{model}@{ref}")
        if sha != ref:
            raise Conflict(f"{model}: commit {ref} was asked for, {sha[:40]} is answered")
        return sha

    def _info(self, model: ModelName, commit: str) -> Mapping[str, Any]:
        return object_at(
            self._http.look(HttpRequest(f"{self._api(model)}/revision/{commit}")).json(), f"{model}@{commit}"
        )

    def _look(self, model: ModelName, revision: Revision) -> Files:
        if not _COMMIT.fullmatch(revision.pin):
            raise Invalid(f"{revision.pin[:80]!r} is no commit: 40 hex digits are wanted")
        return files_of(self._tree(model, revision), f"{model}@{revision.version}")

    def _tree(self, model: ModelName, revision: Revision) -> Iterator[Remote]:
        what = f"{model}@{revision.version}"
        top = f"{self._settings.endpoint}/{model}/resolve/{revision.pin}"
        for answer in self._http.pages(
            HttpRequest(f"{self._api(model)}/tree/{revision.pin}?recursive=true&expand=false")
        ):
            for each in list_at(answer.json(), f"the files of {what}", FILES_MAX):
                row = object_at(each, f"a file of {what}")
                if row.get("type") != "directory":
                    yield _file(row, what, top)

    def _api(self, model: ModelName) -> str:
        return f"{self._settings.endpoint}/api/models/{model}"


def explain(answer: HttpResponse) -> SyncdError | None:
    """What a Hub says in its headers, which is more than the status does."""
    code = answer.headers.get("x-error-code", "")
    told = f"{printable(answer.url)}: {code} {answer.headers.get('x-error-message', '')[:200]}".rstrip()
    if code == "GatedRepo":
        return Refused(told, hint="accept the model's licence as the owner of the token, and set `token`")
    if code == "RepoNotFound" and answer.status in {401, 403}:
        return Refused(told, hint="there is no such model, or it is private: set `token`")
    if code in _GONE and answer.status == 404:
        return NotFound(told)
    if answer.status == 429:
        wait_s = retry_after_s(answer.headers)
        return Unavailable(
            told, hint="the Hub limits how much is asked: set `token`, or poll less", retry_after_s=wait_s
        )
    return None


class _GitStream:
    """A file that git keeps, held against its sha1 at the end. See `registry.base.Stream`."""

    def __init__(self, stream: Stream, path: str, size_bytes: int, sha1: str) -> None:
        self._stream = stream
        self._path = path
        self._left_bytes = size_bytes
        self._want = sha1
        self._hash = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`. The last bytes are given only if all of them are right.

        Raises:
            Corrupt: They are not those of the commit.
        """
        count = self._stream.readinto(buffer)
        self._hash.update(buffer[:count])
        self._left_bytes -= count
        if not self._left_bytes and self._hash.hexdigest() != self._want:
            raise Corrupt(f"{self._path}: git's sha1 is {self._hash.hexdigest()}, the commit says {self._want}")
        return count

    def __enter__(self) -> _GitStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)


def _of_commit(commit: str) -> Revision:
    return Revision(parse_version(commit), commit)


def _commits(value: object, what: str) -> Mapping[str, str]:
    found = {}
    for each in list_at(value, what, _REFS_MAX):
        row = object_at(each, what)
        commit = text_at(row, "targetCommit", what)
        if not _COMMIT.fullmatch(commit):
            raise Invalid(f"{what}: {commit[:60]!r} is no commit")
        found[text_at(row, "name", what)] = commit
    return found


def _file(row: Mapping[str, Any], what: str, top: str) -> Remote:
    """Its address carries git's sha1 behind a `#`, where the Hub keeps no sha256."""
    path = parse_path(text_at(row, "path", what))
    size_bytes = size_at(row, "size", f"{what}: {path}")
    url = f"{top}/{quote(path)}"
    if row.get("lfs") is None:
        sha1 = text_at(row, "oid", f"{what}: {path}")
        if not _COMMIT.fullmatch(sha1):
            raise Invalid(f"{what}: {path}: {sha1[:60]!r} is no sha1")
        return Remote(SourceFile(path, size_bytes, None), f"{url}#{sha1}")
    large = object_at(row["lfs"], f"{what}: {path}")
    if size_at(large, "size", f"{what}: {path}") != size_bytes:
        raise Invalid(f"{what}: {path} has {size_bytes} bytes, and {large['size']} as a large file")
    return Remote(SourceFile(path, size_bytes, Digest.parse(text_at(large, "oid", f"{what}: {path}"))), url)
