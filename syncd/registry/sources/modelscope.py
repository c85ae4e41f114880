"""A registry that is ModelScope: tags are versions, and a tag's pin is a digest of the tree it shows.

Every file comes with its sha256. A tag stays where it is by custom only, so a version is held against its pin whenever
it is looked at, and what changed is a conflict. Inside of Alibaba Cloud the region's own store can be asked for files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from syncd.artifact.digest import Digest
from syncd.artifact.names import ModelName, VersionName, parse_path
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
    files_of,
    natural_order,
    tree_digest,
    version_name,
)
from syncd.registry.pinned import OwnedRegistry
from syncd.registry.settings import ModelScopeSettings
from syncd.values.source import Revision, SourceFile, Stream

COOKIE: Final = "m_session_id"
LISTING_MAX: Final = 3000  # entries; a listing ends there without saying so
_PAGE: Final = 100
_TAGS_MAX: Final = 10_000
_DIRECTORIES_MAX: Final = 10_000
_NO_SUCH: Final = 10010205001
_CHECKED_HINT: Final = "ModelScope looks at new files before it gives them out"

Row = Mapping[str, Any]


class ModelScopeRegistry(OwnedRegistry):
    """Models of ModelScope. Only reads; safe from several threads."""

    def __init__(self, settings: ModelScopeSettings, http: HttpClient) -> None:
        """`http` is made with `explain` of this module."""
        super().__init__(settings.models)
        self._settings = settings
        self._http = http
        self._checked = KeyedCache[str]()

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a tag; the newest is the one made last. Branches go on, so their heads are no versions."""
        if ref is None:
            versions = self._versions(model)
            if not versions:
                raise Unavailable(f"{model} has no version yet", hint="tag a commit")
            ref = versions[-1]
        elif ref not in self._tags(model):
            raise NotFound(f"{model} has no tag {ref}", hint="tag a commit: a branch goes on and is no version")
        return self._keep(model, self._pinned(model, ref))

    def _open(self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int) -> Stream:
        """A file is held against its sha256 by whoever reads it."""
        del model, revision
        region = {"x-aliyun-region-id": self._settings.region} if self._settings.region else {}
        return self._http.open(
            HttpRequest(found.url, region), ExpectedFile(found.file.path, found.file.size_bytes), offset_bytes
        )

    def _of_owner(self, owner: str) -> Iterator[str]:
        what = f"the models of {owner}"
        for page in range(1, LISTING_MAX // _PAGE + 1):
            query = urlencode({"owner": owner, "page_number": page, "page_size": _PAGE})
            answer = self._http.look(HttpRequest(f"{self._settings.endpoint}/openapi/v1/models?{query}"))
            data = object_at(object_at(answer.json(), what).get("data"), what)
            for each in list_at(data.get("models"), what, _PAGE):
                yield text_at(object_at(each, what), "id", what)
            if page * _PAGE >= size_at(data, "total_count", what):
                return
        raise Invalid(f"{owner} has more than {LISTING_MAX} models", hint="name those that are wanted")

    def _versions(self, model: ModelName) -> list[VersionName]:
        """Every tag whose files are all given out, the one made first first."""
        aged = []
        for tag, made in self._tags(model).items():
            try:
                name = version_name(tag)
                self._check(model, name, made)
                aged.append((made, natural_order(name), name))
            except _UnderReview:
                continue
            except Invalid as error:
                self._refusals.tell(f"{model}@{tag}", error, error.hint)
        return [name for _, _, name in sorted(aged)]

    def _check(self, model: ModelName, version: VersionName, made: int) -> None:
        """Raises what `_pinned` does, unless this tag was looked at before."""
        self._checked.find(f"{model}@{version} {made}", lambda: self._pinned(model, version)[0].pin)

    def _tags(self, model: ModelName) -> Mapping[str, int]:
        """Each with the time it was made."""
        what = f"the revisions of {model}"
        listed = object_at(self._data(f"{self._api(model)}/revisions", what).get("RevisionMap"), what)
        found = (object_at(each, what) for each in list_at(listed.get("Tags") or [], what, _TAGS_MAX))
        return {text_at(row, "Revision", what): size_at({"CreatedAt": 0, **row}, "CreatedAt", what) for row in found}

    def _look(self, model: ModelName, revision: Revision) -> Files:
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
        """Directory by directory, where all at once would be cut off."""
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
                    todo.append(parse_path(text_at(row, "Path", f"{model}@{version}")))
                yield row

    def _listed(self, model: ModelName, version: VersionName, query: Mapping[str, str]) -> list[Row]:
        what = f"the files of {model}@{version}"
        url = f"{self._api(model)}/repo/files?{urlencode({'Revision': version, **query})}"
        return [object_at(each, what) for each in list_at(self._data(url, what).get("Files"), what, FILES_MAX)]

    def _file(self, row: Row, model: ModelName, version: VersionName) -> Remote:
        what = f"{model}@{version}"
        path = parse_path(text_at(row, "Path", what))
        if row.get("InCheck") is True:
            raise _UnderReview(f"{what}: {path} is being checked", hint=_CHECKED_HINT)
        sha256 = Digest.parse(text_at(row, "Sha256", f"{what}: {path}").lower())
        url = f"{self._api(model)}/repo?{urlencode({'Revision': version, 'FilePath': path})}"
        return Remote(SourceFile(path, size_at(row, "Size", f"{what}: {path}"), sha256), url)

    def _data(self, url: str, what: str) -> Row:
        """What is in the envelope; a refusal may come in one that says 200 outside."""
        try:
            answer = self._http.look(HttpRequest(url))
        except Refused:
            answer = self._http.look(HttpRequest(url))  # it refuses now and then, and not the next time
        document = object_at(answer.json(), what)
        if "Code" not in document:
            raise Invalid(f"{what}: the answer has no 'Code'", hint="is the registry of this kind?")
        if document["Code"] != 200:
            raise explain(answer) or Unavailable(f"{what}: {_told(document)}", hint=UNREACHABLE_HINT)
        return object_at(document.get("Data"), what)

    def _api(self, model: ModelName) -> str:
        return f"{self._settings.endpoint}/api/v1/models/{model}"


class _UnderReview(Unavailable):
    """Its files are not all given out yet."""


def explain(answer: HttpResponse) -> SyncdError | None:
    """ModelScope's own codes, which are truer than its statuses."""
    try:
        document = parse_json(answer.body, printable(answer.url))
    except SyncdError:
        return None
    if isinstance(document, dict) and document.get("Code") == _NO_SUCH:
        return NotFound(f"{printable(answer.url)}: {_told(document)}")
    return None


def _told(document: Row) -> str:
    return f"{server_message(document.get('Code'))} {server_message(document.get('Message', ''))}"
