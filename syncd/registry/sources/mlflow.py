"""Registry source for MLflow: version numbers are versions, aliases refs, artifacts files.

MLflow has no checksums and allows overwriting artifacts, so the pin covers a version's creation time, its source, and
the names and sizes of its files; every file is read once to compute its sha256. Only artifacts that the server itself
serves (`mlflow-artifacts:`) are read, by a signed address if it offers one, else as one stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from syncd.artifact.names import FilePath, ModelName, VersionName
from syncd.errors import Conflict, Failed, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse
from syncd.http.download import ExpectedFile
from syncd.http.responses import list_at, object_at, parse_json, printable, server_message, size_at, text_at
from syncd.registry.listing_cache import (
    FILES_MAX,
    Files,
    Remote,
    check_unchanged,
    directory_path,
    files_of,
    identity_of,
    name_shown,
    tree_digest,
    version_name,
)
from syncd.registry.pinned import ListedRegistry
from syncd.registry.settings import MlflowSettings
from syncd.values.source import Candidate, Revision, SourceFile, Stream, Tags

_PAGES_MAX: Final = 1000
_TAGS_MAX: Final = 10_000
_DIRECTORIES_MAX: Final = 10_000
_ADDRESSES_MAX: Final = 1000  # signed ones of files that are read in parts
_LOGGED: Final = re.compile(r"models:/(m-[0-9a-f]{32})")
# Spaces and letters of any script are legal in an artifact location, and MLflow's own client reads them (3.17). What
# would be read as another path is not: percent signs, backslashes, and the marks of a query or a fragment.
_UNSAFE: Final = re.compile(r"[%\\?#\x00-\x1f\x7f]")
_HEADER: Final = re.compile(r"[\x20-\x7e]*")
_DELETED_HINT: Final = "register a version of a logged model that exists, and delete this version in MLflow"
_WAITS_HINT: Final = "it is being created; MLflow reports READY when it is complete"

Row = Mapping[str, Any]


class MlflowRegistry(ListedRegistry):
    """Models registered in MLflow. Only reads; safe from several threads."""

    def __init__(self, settings: MlflowSettings, http: HttpClient) -> None:
        """`http` must have this module's `explain`."""
        super().__init__(settings.models)
        self._settings = settings
        self._http = http
        self._signs = True
        self._addresses: dict[str, HttpRequest] = {}

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a version's number or an alias; the newest is the one created last."""
        if ref is None:
            ready = self._versions(model)
            if not ready:
                raise Unavailable(f"{model} has no ready version", hint=_WAITS_HINT)
            ref = ready[-1]
        row = self._version(model, ref) if ref.isdecimal() else self._aliased(model, ref)
        return self._keep(model, self._pinned(model, row))

    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """A server without ranges sends the whole file, and the bytes before the offset are skipped."""
        del model
        expected = ExpectedFile(found.file.path, found.file.size_bytes, identity_of(found, revision))
        known = None if until_bytes is None else self._addresses.get(found.url)
        if known is not None:
            try:
                return self._http.open(known, expected, offset_bytes, until_bytes)
            except (NotFound, Refused):  # it has expired
                self._addresses.pop(found.url, None)
        signed = self._signed(found.url)
        if signed is not None and until_bytes is not None:
            if len(self._addresses) >= _ADDRESSES_MAX:
                self._addresses.clear()
            self._addresses[found.url] = signed  # of the next part
        return self._http.open(signed or HttpRequest(self._api(found.url)), expected, offset_bytes, until_bytes)

    def _models(self) -> Iterator[ModelName]:
        found = self._all("registered-models/search", {"max_results": "1000"}, "registered_models")
        return self._selected(text_at(each, "name", "a registered model") for each in found)

    def _versions(self, model: ModelName) -> list[VersionName]:
        return [each.version for each in self._ready(model)]

    def _candidates(self, model: ModelName) -> list[Candidate]:
        """Candidates with their tags, and the model's tags if required. Without versions, the model may not exist."""
        found = self._ready(model)
        if not found or not self._settings.model_tags:
            return found
        row = object_at(self._get("registered-models/get", {"name": model}).get("registered_model"), model)
        return [replace(each, model_tags=_tags(row, model)) for each in found]

    def _ready(self, model: ModelName) -> list[Candidate]:
        """The versions with status READY, oldest first. Their files are checked at resolution."""
        query = {"filter": f"name='{model}'", "max_results": "10000"}
        aged = []
        for row in self._all("model-versions/search", query, "model_versions"):
            number = text_at(row, "version", f"a version of {model}")
            try:
                if row.get("name") == model and row.get("status") == "READY":
                    made = size_at(row, "creation_timestamp", f"{model}@{number[:40]}")
                    candidate = Candidate(model, version_name(number), tags=_tags(row, f"{model}@{number}"))
                    aged.append((made, int(number) if number.isdecimal() else 0, candidate))
            except Invalid as error:
                self._refusals.warn(f"{model}@{number}", error, error.hint)
        return [candidate for _, _, candidate in sorted(aged, key=lambda each: each[:2])]

    def _all(self, call: str, query: Mapping[str, str], key: str) -> Iterator[Row]:
        """The rows of every page. Raises Invalid: the listing does not end."""
        token, seen = "", 0
        for _ in range(_PAGES_MAX):
            page = self._get(call, {**query, **({"page_token": token} if token else {})})
            found = list_at(page.get(key) or [], f"{call}: {key!r}", FILES_MAX)
            seen += len(found)
            if seen > FILES_MAX:
                raise Invalid(f"{call}: the listing does not end: more than {FILES_MAX} entries")
            for each in found:
                yield object_at(each, f"{call}: {key!r}")
            token = text_at({"next": page.get("next_page_token") or ""}, "next", call)
            if not token:
                return
        raise Invalid(f"{call}: the listing does not end: more than {_PAGES_MAX} pages")

    def _get(self, call: str, query: Mapping[str, str]) -> Row:
        url = f"{self._settings.endpoint}/api/2.0/mlflow/{call}?{urlencode(query, errors='surrogatepass')}"
        return object_at(self._http.fetch(HttpRequest(url)).json(), call)

    def _version(self, model: ModelName, number: VersionName) -> Row:
        found = self._get("model-versions/get", {"name": model, "version": number}).get("model_version")
        row = object_at(found, f"{model}@{number}")
        if (row.get("name"), row.get("version")) != (model, number):
            raise Conflict(
                f"requested {model}@{number}, but the server answered"
                f" {server_message(row.get('name'))}@{server_message(row.get('version'))}"
            )
        return row

    def _aliased(self, model: ModelName, alias: VersionName) -> Row:
        found = self._get("registered-models/alias", {"name": model, "alias": alias}).get("model_version")
        return object_at(found, f"{model}@{alias}")

    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        try:
            now, files = self._pinned(model, self._version(model, revision.version))
        except Unavailable as error:
            if error.retry_after_s is None and error.hint == _WAITS_HINT:
                raise Conflict(f"{model}@{revision.version} is no longer ready: {error}") from error
            raise
        check_unchanged(model, revision, now)
        return files

    def _pinned(self, model: ModelName, row: Row) -> tuple[Revision, Files]:
        version = version_name(text_at(row, "version", f"a version of {model}"))
        what = f"{model}@{version}"
        if row.get("status") != "READY":
            raise Unavailable(
                f"{what}: expected status READY, got {server_message(row.get('status'))}", hint=_WAITS_HINT
            )
        source = text_at(row, "source", what, "")
        logged = _LOGGED.fullmatch(source)
        if logged:
            self._check_logged(logged[1], what)
        root = self._root(model, version)
        made = size_at(row, "creation_timestamp", what)
        found = list(self._files(root, what))
        ready_file = self._settings.ready_file
        if not found or (ready_file and all(each.file.path != ready_file for each in found)):
            required = ready_file or "file"
            raise Unavailable(f"{what} has no {required} yet, of {len(found)} files", hint=_WAITS_HINT)
        files = files_of(found, what)
        return Revision(version, tree_digest(files, lambda _: f"{made} {source}")), files

    def _check_logged(self, logged: str, what: str) -> None:
        try:
            answer = self._get(f"logged-models/{logged}", {})
        except NotFound as error:
            raise NotFound(f"{what}: its logged model {logged} was deleted: {error}", hint=_DELETED_HINT) from error
        document = object_at(answer.get("model"), f"{what}: {logged}")
        status = object_at(document.get("info"), f"{what}: {logged}").get("status")
        if status != "LOGGED_MODEL_READY":
            raise Unavailable(f"{what}: {logged} is {server_message(status)}", hint=_WAITS_HINT)

    def _root(self, model: ModelName, version: VersionName) -> str:
        """The version's directory among the artifacts that the server serves."""
        document = self._get("model-versions/get-download-uri", {"name": model, "version": version})
        uri = text_at(document, "artifact_uri", f"{model}@{version}")
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise Invalid(f"{model}@{version} is at {printable(uri)}, which is not a URL: {error}") from error
        path = parts.path.strip("/")
        home = urlsplit(self._settings.endpoint).netloc
        if parts.scheme != "mlflow-artifacts" or parts.netloc not in {"", home}:
            raise Invalid(
                f"{model}@{version} is at {printable(uri)}, but only artifacts that the server itself serves are read",
                hint="start it with --serve-artifacts, or configure a registry for the bucket",
            )
        is_odd = _UNSAFE.search(path) or parts.query or parts.fragment or {"", ".", ".."} & set(path.split("/"))
        if is_odd or not path.isprintable():
            raise Invalid(f"{model}@{version} is at {printable(uri)}, which is not a directory of artifacts")
        return path

    def _files(self, root: str, what: str) -> Iterator[Remote]:
        todo, seen = [""], 0
        while todo:
            directory = todo.pop()
            seen += 1
            if seen > _DIRECTORIES_MAX:
                raise Invalid(f"{what} has more than {_DIRECTORIES_MAX} directories")
            place = quote(f"{root}/{directory}".rstrip("/"), safe="", errors="surrogatepass")
            url = f"{self._settings.endpoint}/api/2.0/mlflow-artifacts/artifacts?path={place}"
            listed = object_at(self._http.fetch(HttpRequest(url)).json(), f"the files of {what}").get("files") or []
            for each in list_at(listed, f"the files of {what}", FILES_MAX):
                row = object_at(each, f"a file of {what}")
                name = text_at(row, "path", f"a file of {what}")
                path = FilePath(f"{directory}/{name}" if directory else name)
                if row.get("is_dir") is True:
                    todo.append(directory_path(path))
                    continue
                size_bytes = size_at({"file_size": 0, **row}, "file_size", f"{what}: {name_shown(path)}")
                yield Remote(SourceFile(path, size_bytes, None), f"{root}/{path}")

    def _signed(self, path: str) -> HttpRequest | None:
        """A short-lived address at the object store, if the server signs addresses."""
        if not self._signs:
            return None
        url = f"{self._settings.endpoint}/api/2.0/mlflow-artifacts/presigned/{quote(path)}"
        try:
            document = object_at(self._http.fetch(HttpRequest(url)).json(), "a signed address")
        except (Failed, NotFound, Refused):
            self._signs = False  # this server never does, or not for this user
            return None
        listed = object_at(document.get("headers") or {}, "the headers of a signed address")
        headers = {key: text_at(listed, key, "a header of a signed address") for key in listed}
        if not all(_HEADER.fullmatch(part) for pair in headers.items() for part in pair):
            raise Invalid("a signed address comes with headers that cannot be sent")
        return HttpRequest(text_at(document, "url", "a signed address"), headers)

    def _api(self, path: str) -> str:
        return f"{self._settings.endpoint}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"


def _tags(row: Row, what: str) -> Tags:
    """A row's tags. MLflow omits empty ones."""
    found = (
        object_at(each, f"a tag of {what}") for each in list_at(row.get("tags") or [], f"the tags of {what}", _TAGS_MAX)
    )
    return frozenset((text_at(tag, "key", f"a tag of {what}"), text_at(tag, "value", what, "")) for tag in found)


def explain(response: HttpResponse) -> SyncdError | None:
    """The syncd error for MLflow's error codes, which are more precise than its statuses."""
    try:
        document = parse_json(response.body, printable(response.url))
    except SyncdError:
        return None
    code = str(document.get("error_code", "")) if isinstance(document, dict) else ""
    reason = f"{printable(response.url)}: {code} {document.get('message', '')}"[:300] if code else ""
    if code == "RESOURCE_DOES_NOT_EXIST" or (code == "INVALID_PARAMETER_VALUE" and "/alias" in response.url):
        return NotFound(reason)
    if code == "NOT_IMPLEMENTED":
        return Failed(reason)
    if code == "PERMISSION_DENIED":
        return Refused(reason, hint="give the user of this registry read permission for the model")
    return None
