"""Registry source for ModelScope: tags are versions, and a tag's pin is a digest of its tree.

Every file comes with its sha256. A tag is immutable by convention only, so a version is compared with its pin at each
read, and a change is a conflict. Inside Alibaba Cloud files can come from the region's own store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName, VersionName
from syncd.errors import Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse
from syncd.http.download import ExpectedFile
from syncd.http.responses import (
    UNREACHABLE_HINT,
    list_at,
    object_at,
    parse_json,
    printable,
    server_message,
    size_at,
    text_at,
)
from syncd.registry.listing_cache import (
    FILES_MAX,
    Files,
    KeyedCache,
    Remote,
    check_unchanged,
    directory_path,
    files_of,
    name_shown,
    natural_order,
    tree_digest,
    version_name,
)
from syncd.registry.pinned import OwnedRegistry
from syncd.registry.settings import ModelScopeSettings
from syncd.values.source import Revision, SourceFile, Stream

COOKIE: Final = "m_session_id"
LISTING_MAX: Final = 3000  # entries; a listing is cut off there without notice
_PAGE: Final = 100
_TAGS_MAX: Final = 10_000
_DIRECTORIES_MAX: Final = 10_000
_NO_SUCH: Final = 10010205001
_CHECKED_HINT: Final = "ModelScope reviews new files before it serves them"

Row = Mapping[str, Any]


class ModelScopeRegistry(OwnedRegistry):
    """Models of ModelScope. Only reads; safe from several threads."""

    def __init__(self, settings: ModelScopeSettings, http: HttpClient) -> None:
        """`http` must have this module's `explain`."""
        super().__init__(settings.models)
        self._settings = settings
        self._http = http
        self._checked = KeyedCache[str]()

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a tag; the newest is the one created last. Branches move, so their heads are not versions."""
        if ref is None:
            versions = self._versions(model)
            if not versions:
                raise Unavailable(f"{model} has no version yet", hint="tag a commit")
            ref = versions[-1]
        elif ref not in self._tags(model):
            raise NotFound(f"{model} has no tag {ref}", hint="tag a commit: a branch moves and is not a version")
        return self._keep(model, self._pinned(model, ref))

    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """A file. The reader verifies its sha256."""
        del model, revision
        region = {"x-aliyun-region-id": self._settings.region} if self._settings.region else {}
        expected = ExpectedFile(found.file.path, found.file.size_bytes)
        return self._http.open(HttpRequest(found.url, region), expected, offset_bytes, until_bytes)

    def _of_owner(self, owner: str) -> Iterator[str]:
        what = f"the models of {owner}"
        for page in range(1, LISTING_MAX // _PAGE + 1):
            query = urlencode({"owner": owner, "page_number": page, "page_size": _PAGE})
            response = self._http.fetch(HttpRequest(f"{self._settings.endpoint}/openapi/v1/models?{query}"))
            data = object_at(object_at(response.json(), what).get("data"), what)
            for each in list_at(data.get("models"), what, _PAGE):
                yield text_at(object_at(each, what), "id", what)
            if page * _PAGE >= size_at(data, "total_count", what):
                return
        raise Invalid(f"{owner} has more than {LISTING_MAX} models", hint="name those you need in `models`")

    def _versions(self, model: ModelName) -> list[VersionName]:
        """Every tag whose files are all available, the oldest first."""
        aged = []
        for tag, made in self._tags(model).items():
            try:
                name = version_name(tag)
                self._check(model, name, made)
                aged.append((made, natural_order(name), name))
            except _UnderReview:
                continue
            except Invalid as error:
                self._refusals.warn(f"{model}@{tag}", error, error.hint)
        return [name for _, _, name in sorted(aged)]

    def _check(self, model: ModelName, version: VersionName, made: int) -> None:
        """Raises what `_pinned` raises, unless this tag was checked before."""
        self._checked.find(f"{model}@{version} {made}", lambda: self._pinned(model, version)[0].pin)

    def _tags(self, model: ModelName) -> Mapping[str, int]:
        """Every tag with its creation time."""
        what = f"the revisions of {model}"
        listed = object_at(self._data(f"{self._api(model)}/revisions", what).get("RevisionMap"), what)
        found = (object_at(each, what) for each in list_at(listed.get("Tags") or [], what, _TAGS_MAX))
        return {text_at(row, "Revision", what): size_at({"CreatedAt": 0, **row}, "CreatedAt", what) for row in found}

    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        now, files = self._pinned(model, revision.version)
        check_unchanged(model, revision, now)
        return files

    def _pinned(self, model: ModelName, version: VersionName) -> tuple[Revision, Files]:
        what = f"{model}@{version}"
        listed = self._listed(model, version, {"Recursive": "True"})
        entries = listed if len(listed) < LISTING_MAX else self._walked(model, version)
        files = files_of((self._file(row, model, version) for row in entries if row.get("Type") != "tree"), what)
        return Revision(version, tree_digest(files, lambda each: each.url)), files

    def _walked(self, model: ModelName, version: VersionName) -> Iterator[Row]:
        """The entries directory by directory, for a tree whose recursive listing would be cut off."""
        todo, seen = [""], 0
        while todo:
            directory = todo.pop()
            seen += 1
            if seen > _DIRECTORIES_MAX:
                raise Invalid(f"{model}@{version} has more than {_DIRECTORIES_MAX} directories")
            listed = self._listed(model, version, {"Root": directory})
            if len(listed) >= LISTING_MAX:
                raise Invalid(f"{model}@{version}: {directory or 'the top'} has {LISTING_MAX} entries or more")
            for row in listed:
                if row.get("Type") == "tree":
                    todo.append(directory_path(text_at(row, "Path", f"{model}@{version}")))
                yield row

    def _listed(self, model: ModelName, version: VersionName, query: Mapping[str, str]) -> list[Row]:
        what = f"the files of {model}@{version}"
        url = f"{self._api(model)}/repo/files?{urlencode({'Revision': version, **query}, errors='surrogatepass')}"
        return [object_at(each, what) for each in list_at(self._data(url, what).get("Files"), what, FILES_MAX)]

    def _file(self, row: Row, model: ModelName, version: VersionName) -> Remote:
        what = f"{model}@{version}"
        path = FilePath(text_at(row, "Path", what))
        shown = name_shown(path)
        if row.get("InCheck") is True:
            raise _UnderReview(f"{what}: {shown} is under review", hint=_CHECKED_HINT)
        sha256 = Digest.parse(text_at(row, "Sha256", f"{what}: {shown}").lower())
        url = f"{self._api(model)}/repo?{urlencode({'Revision': version, 'FilePath': path}, errors='surrogatepass')}"
        return Remote(SourceFile(path, size_at(row, "Size", f"{what}: {shown}"), sha256), url)

    def _data(self, url: str, what: str) -> Row:
        """The content of the envelope, which may have an error code although the status is 200."""
        try:
            response = self._http.fetch(HttpRequest(url))
        except Refused:
            response = self._http.fetch(HttpRequest(url))  # it refuses now and then, and accepts the next request
        document = object_at(response.json(), what)
        if "Code" not in document:
            raise Invalid(f"{what}: the response has no 'Code'", hint="check the registry's `kind`")
        if document["Code"] != 200:
            raise explain(response) or Unavailable(f"{what}: {_error_text(document)}", hint=UNREACHABLE_HINT)
        return object_at(document.get("Data"), what)

    def _api(self, model: ModelName) -> str:
        return f"{self._settings.endpoint}/api/v1/models/{model}"


class _UnderReview(Unavailable):
    """Some of its files are not available yet."""


def explain(response: HttpResponse) -> SyncdError | None:
    """The syncd error for ModelScope's error codes, which are more precise than its statuses."""
    try:
        document = parse_json(response.body, printable(response.url))
    except SyncdError:
        return None
    if isinstance(document, dict) and document.get("Code") == _NO_SUCH:
        return NotFound(f"{printable(response.url)}: {_error_text(document)}")
    return None


def _error_text(document: Row) -> str:
    return f"{server_message(document.get('Code'))} {server_message(document.get('Message', ''))}"
