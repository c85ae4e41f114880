"""Registry source for the Hugging Face Hub and its mirrors: tags are versions, commits are pins.

A commit never changes, so content that is read by its sha is what was pinned. Large files come with their sha256; the
others with git's sha1, which is verified while they are read.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName, VersionName, parse_version
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse
from syncd.http.download import ExpectedFile
from syncd.http.responses import list_at, object_at, printable, retry_after_s, size_at, text_at
from syncd.registry.listing_cache import FILES_MAX, Files, KeyedCache, Remote, files_of, name_shown, version_name
from syncd.registry.pinned import OwnedRegistry
from syncd.registry.settings import HubSettings
from syncd.values.source import Revision, SourceFile, Stream, ends_at
from syncd.values.times import parse_time

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REFS_MAX: Final = 10_000
_MODELS_MAX: Final = 10_000
_GONE: Final = frozenset({"RepoNotFound", "RevisionNotFound", "EntryNotFound"})


class HubRegistry(OwnedRegistry):
    """Models of a Hub. Only reads; safe from several threads."""

    def __init__(self, settings: HubSettings, http: HttpClient) -> None:
        """`http` must have this module's `explain`."""
        super().__init__(settings.models)
        self._settings = settings
        self._http = http
        self._dates: KeyedCache[float] = KeyedCache()

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a tag, a branch or a commit's full sha; the newest version has the newest commit.

        A tag's version has the tag's name; a branch's or commit's version has the commit's, since a branch
        moves.
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

    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """A file that is not read from its beginning is not verified against git's sha1."""
        del model, revision
        path, size_bytes = found.file.path, found.file.size_bytes
        url, _, sha1 = found.url.partition("#")
        stream = self._http.open(HttpRequest(url), ExpectedFile(path, size_bytes), offset_bytes, until_bytes)
        is_whole = not offset_bytes and ends_at(stream) is None
        return _GitStream(stream, path, size_bytes, sha1) if is_whole and sha1 else stream

    def _of_owner(self, owner: str) -> Iterator[str]:
        request = HttpRequest(f"{self._settings.endpoint}/api/models?author={quote(owner, safe='')}")
        count = 0
        for response in self._http.pages(request):
            for each in list_at(response.json(), f"the models of {owner}", _MODELS_MAX):
                count += 1
                if count > _MODELS_MAX:
                    raise Invalid(f"{owner} has more than {_MODELS_MAX} models", hint="name those you need in `models`")
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
                self._refusals.warn(f"{model}@{name}", error, error.hint)
        head = branches.get(self._settings.branch)
        if head and head not in tags.values():
            found.append(_of_commit(head))
        dates = {revision.pin: self._date(model, revision.pin) for revision in found}
        return sorted(found, key=lambda revision: (dates[revision.pin], revision.version))

    def _date(self, model: ModelName, commit: str) -> float:
        """The time of a commit, in seconds since 1970. One without a valid time is the oldest."""
        return self._dates.find(f"{model}/{commit}", lambda: self._read_date(model, commit))

    def _read_date(self, model: ModelName, commit: str) -> float:
        what = f"{model}@{commit}"
        text = text_at(self._info(model, commit), "lastModified", what)
        made = parse_time(text)
        if made is None:
            self._refusals.warn(what, Invalid(f"lastModified: expected an RFC 3339 time, got {text[:80]!r}: ignored"))
            return -math.inf
        return made.timestamp()

    def _refs(self, model: ModelName) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Tags and branches, each with its commit."""
        what = f"the refs of {model}"
        document = object_at(self._http.fetch(HttpRequest(f"{self._api(model)}/refs")).json(), what)
        return _commits(document.get("tags"), what), _commits(document.get("branches"), what)

    def _commit(self, model: ModelName, ref: VersionName) -> str:
        if not _COMMIT.fullmatch(ref):
            raise NotFound(f"{model} has no tag, branch or commit {ref}")
        sha = text_at(self._info(model, ref), "sha", f"{model}@{ref}")
        if sha != ref:
            raise Conflict(f"{model}: expected commit {ref}, got {sha[:40]}")
        return sha

    def _info(self, model: ModelName, commit: str) -> Mapping[str, Any]:
        return object_at(
            self._http.fetch(HttpRequest(f"{self._api(model)}/revision/{commit}")).json(), f"{model}@{commit}"
        )

    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        if not _COMMIT.fullmatch(revision.pin):
            raise Invalid(f"expected a commit of 40 hex digits, got {revision.pin[:80]!r}")
        return files_of(self._tree(model, revision), f"{model}@{revision.version}")

    def _tree(self, model: ModelName, revision: Revision) -> Iterator[Remote]:
        what = f"{model}@{revision.version}"
        top = f"{self._settings.endpoint}/{model}/resolve/{revision.pin}"
        for response in self._http.pages(
            HttpRequest(f"{self._api(model)}/tree/{revision.pin}?recursive=true&expand=false")
        ):
            for each in list_at(response.json(), f"the files of {what}", FILES_MAX):
                row = object_at(each, f"a file of {what}")
                if row.get("type") != "directory":
                    yield _file(row, what, top)

    def _api(self, model: ModelName) -> str:
        return f"{self._settings.endpoint}/api/models/{model}"


def explain(response: HttpResponse) -> SyncdError | None:
    """The syncd error for a Hub's error headers, which are more precise than its status."""
    code = response.headers.get("x-error-code", "")
    reason = f"{printable(response.url)}: {code} {response.headers.get('x-error-message', '')[:200]}".rstrip()
    if code == "GatedRepo":
        return Refused(reason, hint="accept the model's licence as the owner of the token, and set `token`")
    if code == "RepoNotFound" and response.status in {401, 403}:
        return Refused(reason, hint="the model does not exist, or is private: set `token`")
    if code in _GONE and response.status == 404:
        return NotFound(reason)
    if response.status == 429:
        wait_s = retry_after_s(response.headers)
        return Unavailable(
            reason, hint="the Hub limits the number of requests: set `token`, or poll less", retry_after_s=wait_s
        )
    return None


class _GitStream:
    """A file in git, verified against its sha1 at the end. See `registry.base.Stream`."""

    def __init__(self, stream: Stream, path: str, size_bytes: int, sha1: str) -> None:
        self._stream = stream
        self._path = path
        self._left_bytes = size_bytes
        self._want = sha1
        self._hash = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`. The last bytes are returned only if the sha1 matches.

        Raises:
            Corrupt: The sha1 is not that of the commit.
        """
        count = self._stream.readinto(buffer)
        self._hash.update(buffer[:count])
        self._left_bytes -= count
        if not self._left_bytes and self._hash.hexdigest() != self._want:
            raise Corrupt(f"{self._path}: expected git's sha1 {self._want}, got {self._hash.hexdigest()}")
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
            raise Invalid(f"{what}: {commit[:60]!r} is not a commit")
        found[text_at(row, "name", what)] = commit
    return found


def _file(row: Mapping[str, Any], what: str, top: str) -> Remote:
    """A file. Its address has git's sha1 after a `#`, where the Hub has no sha256."""
    path = FilePath(text_at(row, "path", what))
    shown = name_shown(path)
    size_bytes = size_at(row, "size", f"{what}: {shown}")
    url = f"{top}/{quote(path, errors='surrogatepass')}"
    if row.get("lfs") is None:
        sha1 = text_at(row, "oid", f"{what}: {shown}")
        if not _COMMIT.fullmatch(sha1):
            raise Invalid(f"{what}: {shown}: {sha1[:60]!r} is not a sha1")
        return Remote(SourceFile(path, size_bytes, None), f"{url}#{sha1}")
    large = object_at(row["lfs"], f"{what}: {shown}")
    if size_at(large, "size", f"{what}: {shown}") != size_bytes:
        raise Invalid(f"{what}: {shown} has {size_bytes} bytes, and {large['size']} as a large file")
    return Remote(SourceFile(path, size_bytes, Digest.parse(text_at(large, "oid", f"{what}: {shown}"))), url)
