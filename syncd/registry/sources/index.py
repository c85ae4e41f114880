"""Registry source for a JSON index: models, their versions, and each file's size, sha256 and address.

The document is `{"schema": "syncd/v1", "models": [{"name", "versions": [{"version", "ready", "aliases", "files":
[{"path", "size", "sha256", "url"}]}]}]}`, a model's oldest version first. `ready` (true), `aliases` (none), `sha256`
(it is then computed by reading the file) and `url` (then `<name>/<version>/<path>`) may be missing; addresses are
relative to the document's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName, VersionName, parse_model
from syncd.errors import Invalid, NotFound, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse, not_modified
from syncd.http.download import ExpectedFile
from syncd.http.responses import join_url, list_at, object_at, server_message, size_at, text_at
from syncd.registry.listing_cache import (
    FILES_HINT,
    FILES_MAX,
    Files,
    Remote,
    check_unchanged,
    files_of,
    identity_of,
    name_shown,
    tree_digest,
    version_name,
)
from syncd.registry.pinned import PinnedRegistry
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.settings import IndexSettings
from syncd.values.patterns import selects
from syncd.values.source import Candidate, Revision, SourceFile, Stream

SCHEMA: Final = "syncd/v1"
MODELS_MAX: Final = 10_000
VERSIONS_MAX: Final = 10_000
_FIELDS: Final = ("path", "size", "sha256", "url")

Row = Mapping[str, Any]
T = TypeVar("T")


class IndexRegistry(PinnedRegistry):
    """Versions in a JSON index. Only reads; safe from several threads."""

    def __init__(self, settings: IndexSettings, http: HttpClient) -> None:
        super().__init__(settings.models)
        self._settings = settings
        self._http = http
        self._lock = threading.Lock()
        self._last: tuple[str, HttpResponse] | None = None

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        """See `rules.filtered.Source`. An unchanged index is not transferred again."""
        found = []
        for name, row in self._models().items():
            if model not in {None, name}:
                continue
            try:
                owner = parse_model(name)
                if not any(selects(pattern, owner) for pattern in self._settings.models):
                    continue
                versions = _versions(row, owner)
            except Invalid as error:
                self._refusals.warn(name, error, error.hint)
                continue
            found += [Candidate(owner, version) for version in self._named(owner, versions, taking)]
        return tuple(found)

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a version's name or an alias of it; the newest is the last in the index."""
        row = self._models().get(model)
        if row is None:
            raise NotFound(f"{self._settings.url} has no model {model}")
        return self._keep(model, self._pinned(model, _chosen(_versions(row, model), ref, model)))

    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """A file's size must be the pinned one, and its ETag too if it has no digest."""
        url = found.url or _place(self._base(model, revision.version), found.file.path)
        expected = ExpectedFile(url, found.file.size_bytes, identity_of(found, revision))
        return self._http.open(HttpRequest(url), expected, offset_bytes, until_bytes)

    def _base(self, model: ModelName, version: VersionName) -> str:
        return join_url(self._settings.url, quote(f"{model}/{version}/"))

    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        row = self._models().get(model, {})
        found = _chosen(_versions(row, model), revision.version, model) if row else None
        if found is None:
            raise NotFound(f"{self._settings.url} no longer has model {model}")
        now, files = self._pinned(model, found)
        check_unchanged(model, revision, now)
        return files

    def _pinned(self, model: ModelName, row: Row) -> tuple[Revision, Files]:
        version = version_name(text_at(row, "version", model))
        what = f"{model}@{version}"
        if row.get("ready", True) is not True:
            raise Unavailable(f"{what} is not ready", hint="the index has `ready: false` while it is being written")
        base = self._base(model, version)
        listed = list_at(row.get("files"), f"{what}: 'files'", FILES_MAX, FILES_HINT)
        files = files_of((_file(_entry(each, what), what, self._settings.url) for each in _drained(listed)), what)
        return Revision(version, tree_digest(files, lambda each: each.url or _place(base, each.file.path))), files

    def _models(self) -> Mapping[str, Row]:
        """Each model's row by its name, from the current index."""
        with self._lock:
            last = self._last
        condition = {"If-None-Match": last[0]} if last else {}
        response = self._http.fetch(HttpRequest(self._settings.url, condition))
        if last and not_modified(response):
            return _rows(last[1])  # kept as it came: what is made of it takes ten times the memory
        models = _rows(response)
        etag = response.headers.get("etag", "")
        with self._lock:
            self._last = (etag, response) if etag and etag.isascii() else None  # others are not valid header values
        return models

    def _named(self, model: ModelName, versions: Sequence[Row], taking: FileFilter) -> Iterator[VersionName]:
        """The versions that are ready and whose entries are valid; a bad one hides no other."""
        for row in versions:
            try:
                revision, files = self._pinned(model, row)
                self._selected_files(model, revision.version, files, taking)
            except Unavailable:
                continue
            except Invalid as error:
                self._refusals.warn(f"{model}@{server_message(row.get('version'))}", error, error.hint)
                continue
            yield revision.version


def _drained(rows: list[T]) -> Iterator[T]:
    """The rows in their order. Each is freed as soon as something else was made of it."""
    rows.reverse()
    while rows:
        yield rows.pop()


def _compact(pairs: list[tuple[str, Any]]) -> Any:
    """A file's entry in less memory. Other objects of the index have no path."""
    row = dict(pairs)
    if "path" not in row or row.keys() & {"name", "version", "files", "versions", "models"}:
        return row
    fields = _FIELDS if "url" in row else _FIELDS[:-1]
    return tuple(row.get(key) for key in fields)


def _entry(row: Any, what: str) -> Row:
    return dict(zip(_FIELDS, row, strict=False)) if isinstance(row, tuple) else object_at(row, what)


def _rows(response: HttpResponse) -> Mapping[str, Row]:
    document = object_at(response.json(_compact), "the index")
    if document.get("schema") != SCHEMA:
        raise Invalid(f"the index: expected schema {SCHEMA!r}, got {server_message(document.get('schema'))!r}")
    models: dict[str, Row] = {}
    for each in list_at(document.get("models"), "the index: 'models'", MODELS_MAX):
        row = object_at(each, "a model of the index")
        name = text_at(row, "name", "a model of the index")
        if name in models:
            raise Invalid(f"the index has model {name[:128]!r} twice")
        models[name] = row
    return models


def _versions(row: Row, model: str) -> Sequence[Row]:
    found = [object_at(each, f"a version of {model}") for each in list_at(row.get("versions"), model, VERSIONS_MAX)]
    names = [text_at(each, "version", f"a version of {model}") for each in found]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the index has {model}@{twice[:96]} twice")
    return found


def _chosen(versions: Sequence[Row], ref: str | None, model: str) -> Row:
    if ref is None:
        ready = [row for row in versions if row.get("ready", True) is True]
        if not ready:
            raise Unavailable(f"{model} has no ready version, of {len(versions)}")
        return ready[-1]
    for row in versions:
        if row["version"] == ref:
            return row
    for row in reversed(versions):
        if ref in list_at(row.get("aliases", []), f"{model}: 'aliases'", VERSIONS_MAX):
            return row
    raise NotFound(f"{model} has no version {ref}")


def _place(base: str, path: str) -> str:
    """The address of a file that the index gives none for."""
    return join_url(base, quote(path, errors="surrogatepass"))


def _file(row: Row, what: str, index: str) -> Remote:
    """A file. Its address is empty where it is the usual one: made when it is read, it takes no memory before."""
    path = FilePath(text_at(row, "path", what))
    shown = name_shown(path)
    sha256 = row.get("sha256")
    if not isinstance(sha256, str | None):
        raise Invalid(f"{what}: {shown}: expected text as 'sha256'")
    url = join_url(index, row["url"]) if isinstance(row.get("url"), str) else ""
    digest = Digest.parse(sha256) if sha256 else None
    return Remote(SourceFile(path, size_at(row, "size", f"{what}: {shown}"), digest), url)
