"""OCI registry source: tags are versions, manifest digests are pins, layers are files.

Three layouts of models are supported: ModelPack, KitOps and ORAS. A layer is a file, or a tar of files; the content of
a tar is known only after reading it whole, which happens at listing, not at discovery.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from syncd.artifact.names import ModelName, VersionName, parse_model
from syncd.errors import Corrupt, Invalid, NotFound, Refused, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse
from syncd.http.download import ExpectedFile
from syncd.http.responses import list_at, object_at, parse_json, text_at
from syncd.registry.base import AttachedSignature
from syncd.registry.listing_cache import (
    FILES_HINT,
    FILES_MAX,
    LATEST,
    Files,
    KeyedCache,
    Remote,
    files_of,
    natural_order,
    version_name,
)
from syncd.registry.oci.attached import AttachedSignatures
from syncd.registry.oci.layers import DIGEST, ArtifactLayer, TarIndex, TarredFile, open_inside, parse_layer
from syncd.registry.pinned import ListedRegistry
from syncd.registry.settings import OciSettings
from syncd.values.patterns import selects
from syncd.values.source import Revision, Stream
from syncd.values.times import parse_time

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_DOCKER: Final = "application/vnd.docker.distribution.manifest.v2+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_ACCEPT: Final = {"Accept": f"{_MANIFEST}, {_INDEX}, {_DOCKER}"}
_CREATED: Final = "org.opencontainers.image.created"
_ATTACHED: Final = re.compile(r"sha256-[0-9a-f]{64}.*")  # signatures and the like, by the protocol's fallback
_TAGS_MAX: Final = 10_000
MANIFEST_BYTES_MAX: Final = 4 << 20  # what registries must accept by the OCI distribution specification


class OciRegistry(ListedRegistry):
    """Models in an image repository. Only reads; safe from several threads.

    Such a registry accepts a manifest only after all its layers: every tagged version is complete.
    """

    def __init__(self, settings: OciSettings, http: HttpClient) -> None:
        """`http` has an `OciAuth`."""
        super().__init__(settings.models)
        self._settings = settings
        self._http = http
        self._created: KeyedCache[float] = KeyedCache()
        self._tars = TarIndex()

    def attached(self, model: ModelName, revision: Revision) -> Iterator[AttachedSignature]:
        """See `registry.base.SignedRegistry`."""
        return AttachedSignatures(self._http, self._repository(model), self._scope(model)).of(revision.pin)

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a tag; the newest version has the newest manifest, independent of the tag `latest`."""
        if ref is None:
            revisions = self._aged(model)
            if not revisions:
                raise Unavailable(f"{model} has no version yet", hint="push a manifest with a tag")
            return revisions[-1]
        revision = self._revision(model, ref)
        self._created_at(model, revision)
        return revision

    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """A blob by its digest: a moved tag does not change it."""
        if isinstance(found, TarredFile):
            return open_inside(found, self._opener(model, f"{model}@{revision.version}"), offset_bytes)
        request = HttpRequest(found.url, scope=self._scope(model))
        return self._http.open(request, ExpectedFile(found.file.path, found.file.size_bytes), offset_bytes, until_bytes)

    def _opener(self, model: ModelName, what: str) -> Callable[[ArtifactLayer, int], Stream]:
        def opened(layer: ArtifactLayer, offset_bytes: int) -> Stream:
            expected = ExpectedFile(f"{what}: layer {layer.digest}", layer.size_bytes)
            return self._http.open(HttpRequest(layer.url, scope=self._scope(model)), expected, offset_bytes)

        return opened

    def _models(self) -> Iterator[ModelName]:
        """The named models, and for patterns those in the registry's catalogue."""
        seen = {parse_model(pattern) for pattern in self._settings.models if "*" not in pattern}
        yield from sorted(seen)
        patterns = [pattern for pattern in self._settings.models if "*" in pattern]
        if not patterns:
            return
        for name in self._catalogue():
            if name not in seen and any(selects(pattern, name) for pattern in patterns):
                seen.add(name)
                yield name

    def _catalogue(self) -> Iterator[ModelName]:
        request = HttpRequest(f"{self._settings.endpoint}/v2/_catalog?n=1000", scope="registry:catalog:*")
        try:
            responses = list(self._http.pages(request))
        except (NotFound, Refused) as error:
            hint = "its catalogue is not accessible: name the models of this registry, without `*`"
            raise Refused(error.message, hint=hint) from error
        for response in responses:
            for each in list_at(
                object_at(response.json(), "the catalogue").get("repositories") or [], "the catalogue", FILES_MAX
            ):
                name = each.removeprefix(self._settings.prefix) if isinstance(each, str) else ""
                if isinstance(each, str) and each.startswith(self._settings.prefix):
                    try:
                        yield parse_model(name)
                    except Invalid as error:
                        self._refusals.warn(name, error, error.hint)

    def _versions(self, model: ModelName) -> Iterator[VersionName]:
        return (revision.version for revision in self._aged(model))

    def _aged(self, model: ModelName) -> list[Revision]:
        """Every version, oldest first: by the time in the manifest, then by the numbers in the tag.

        A manifest without a time, or with a text that is not one, is older than those that have one.
        """
        dated = []
        for tag in list(self._tags(model)):  # all are counted before the first is fetched
            try:
                revision = self._revision(model, tag)
                dated.append((self._created_at(model, revision), natural_order(tag), revision))
            except (NotFound, Invalid) as error:
                self._refusals.warn(f"{model}@{tag}", error, error.hint)
        return [revision for _, _, revision in sorted(dated, key=lambda each: each[:2])]

    def _tags(self, model: ModelName) -> Iterator[VersionName]:
        """Raises Invalid: there are more tags, on all pages together, than are fetched one by one."""
        seen = 0
        for response in self._http.pages(HttpRequest(f"{self._repository(model)}/tags/list", scope=self._scope(model))):
            listed = object_at(response.json(), f"the tags of {model}").get("tags") or []
            found = list_at(listed, f"the tags of {model}", _TAGS_MAX)
            seen += len(found)
            if seen > _TAGS_MAX:
                raise Invalid(f"{model} has more than {_TAGS_MAX} tags", hint="delete old ones")
            for tag in found:
                if not isinstance(tag, str) or tag == LATEST or _ATTACHED.fullmatch(tag):
                    continue
                try:
                    yield version_name(tag)
                except Invalid as error:
                    self._refusals.warn(f"{model}@{tag}", error, error.hint)

    def _revision(self, model: ModelName, tag: VersionName) -> Revision:
        response = self._manifest(model, tag, "HEAD")
        digest = response.headers.get("docker-content-digest", "")
        if not digest:
            digest = f"sha256:{hashlib.sha256(self._manifest(model, tag).body).hexdigest()}"
        if not DIGEST.fullmatch(digest):
            raise Invalid(f"{model}@{tag}: expected a sha256 as the manifest's digest, got {digest[:80]!r}")
        return Revision(tag, digest)

    def _created_at(self, model: ModelName, revision: Revision) -> float:
        """The manifest's own time, in seconds since 1970. Reading it detects a manifest that is not of a model."""
        return self._created.find(f"{model}/{revision.pin}", lambda: self._read_time(model, revision))

    def _read_time(self, model: ModelName, revision: Revision) -> float:
        manifest, what = self._pinned(model, revision), f"{model}@{revision.version}"
        layers = list(self._layers(manifest, model, what))
        if not any(isinstance(layer, ArtifactLayer) for layer in layers):
            files_of((layer for layer in layers if isinstance(layer, Remote)), what)
        notes = object_at(manifest.get("annotations") or {}, f"the annotations of {what}")
        text = text_at(notes, _CREATED, what, "")
        created = parse_time(text)
        if text and created is None:
            self._refusals.warn(what, Invalid(f"{_CREATED}: expected an RFC 3339 time, got {text[:80]!r}: ignored"))
        return created.timestamp() if created is not None else -math.inf

    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        what = f"{model}@{revision.version}"
        layers = self._layers(self._pinned(model, revision), model, what)
        return files_of(self._files(list(layers), model, what), what)

    def _pinned(self, model: ModelName, revision: Revision) -> Mapping[str, Any]:
        what = f"{model}@{revision.version}"
        if not DIGEST.fullmatch(revision.pin):
            raise Invalid(f"{what}: {revision.pin[:80]!r} is not the digest of a manifest")
        response = self._manifest(model, revision.pin)
        found = response.packed.sha256()
        if f"sha256:{found}" != revision.pin:
            raise Corrupt(f"{what}: expected the manifest {revision.pin}, got sha256 {found}")
        try:
            return object_at(parse_json(response.packed.pieces(), what), what)
        except Invalid as error:
            response.refused(error)
            raise

    def _manifest(self, model: ModelName, reference: str, method: str = "GET") -> HttpResponse:
        url = f"{self._repository(model)}/manifests/{quote(reference, safe=':')}"
        request = HttpRequest(url, _ACCEPT, method, self._scope(model), bytes_max=MANIFEST_BYTES_MAX)
        return self._http.fetch(request)

    def _files(self, layers: Sequence[Remote | ArtifactLayer], model: ModelName, what: str) -> Iterator[Remote]:
        for layer in layers:
            if isinstance(layer, ArtifactLayer):
                yield from self._tars.files(layer, self._opener(model, what), what)
            else:
                yield layer

    def _layers(self, manifest: Mapping[str, Any], model: ModelName, what: str) -> Iterator[Remote | ArtifactLayer]:
        if "manifests" in manifest:
            raise Invalid(f"{what}: expected the manifest of a model, got an index of manifests")
        for each in list_at(manifest.get("layers"), f"{what}: 'layers'", FILES_MAX, FILES_HINT):
            yield parse_layer(object_at(each, f"a layer of {what}"), what, f"{self._repository(model)}/blobs")

    def _repository(self, model: ModelName) -> str:
        return f"{self._settings.endpoint}/v2/{self._settings.prefix}{model}"

    def _scope(self, model: ModelName) -> str:
        return f"repository:{self._settings.prefix}{model}:pull"
