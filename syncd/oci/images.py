"""Image documents: a base image as read from its repository, and the image with layers over it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.errors import Invalid
from syncd.http.responses import list_at, object_at, parse_json, size_at, text_at
from syncd.oci.references import Reference
from syncd.oci.repository import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, ManifestDocument, Repository

PLATFORM: Final = ("linux", "amd64")  # the platform runs no other
LAYERS_MAX: Final = 127  # the kernel's limit of overlay layers
_ROWS_MAX: Final = 1000
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYERS: Final[Mapping[str, str]] = {
    "application/vnd.docker.image.rootfs.diff.tar": _TAR,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{_TAR}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{_TAR}+zstd",
}
_LAYERS: Final = frozenset(_DOCKER_LAYERS.values())


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer as described in a manifest."""

    kind: str
    digest: Digest
    size_bytes: int
    notes: Mapping[str, str]

    @property
    def row(self) -> dict[str, object]:
        """The entry in a manifest."""
        plain: dict[str, object] = {
            "mediaType": self.kind,
            "digest": f"sha256:{self.digest}",
            "size": self.size_bytes,
        }
        return plain | ({"annotations": dict(self.notes)} if self.notes else {})


@dataclass(frozen=True, slots=True)
class BaseImage:
    """A base image as resolved; `digest` is that of our platform's manifest."""

    repository: Repository
    name: str
    digest: Digest
    config: Mapping[str, Any]
    layers: tuple[Blob, ...]

    @property
    def size_bytes(self) -> int:
        """The compressed size."""
        return sum(layer.size_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Image:
    """The documents that are pushed last: the configuration, and the manifest."""

    config: ManifestDocument
    manifest: ManifestDocument


def base_of(repository: Repository, reference: Reference) -> BaseImage:
    """Resolve a base image. Of an index, the image for linux/amd64 is used; attestations are ignored.

    Raises:
        Invalid: The reference is not an image, or is for another platform.
        Corrupt: Its bytes do not match a digest.
        NotFound, Unavailable, Refused: From the registry.
    """
    what = str(reference)
    found = repository.manifest(reference.target)
    document = object_at(parse_json(found.body, what), what)
    if found.kind in {OCI_INDEX, DOCKER_LIST} or "manifests" in document:
        found = repository.manifest(f"sha256:{_chosen(document, what)}")
        document = object_at(parse_json(found.body, what), what)
    if found.kind not in {OCI_MANIFEST, DOCKER_MANIFEST}:
        raise Invalid(f"{what}: expected an image, got {found.kind[:80]!r}", hint="push it again with a current tool")
    descriptor = object_at(document.get("config"), f"the configuration of {what}")
    config = repository.read(Digest.parse(text_at(descriptor, "digest", what)))
    layers = list_at(document.get("layers"), f"the layers of {what}", _ROWS_MAX)
    base = BaseImage(
        repository,
        what,
        found.digest,
        object_at(parse_json(config, what), f"the configuration of {what}"),
        tuple(_blob(object_at(layer, f"a layer of {what}"), what) for layer in layers),
    )
    _check(base)
    return base


def blob_of(digest: Digest, size_bytes: int, title: str) -> Blob:
    """A layer of ours, uncompressed, since weights do not compress well."""
    return Blob(_TAR, digest, size_bytes, {"syncd.files": title})


def image_of(
    base: BaseImage, manifest: Manifest, layers: Sequence[Blob], variables: Mapping[str, str], notes: Mapping[str, str]
) -> Image:
    """The base with layers over it. The same inputs give the same bytes: its time is the base's.

    `variables` become the function's environment, `notes` labels and annotations beside the fixed ones.
    """
    annotations = {
        **notes,
        "org.opencontainers.image.base.digest": f"sha256:{base.digest}",
        "org.opencontainers.image.version": str(manifest.version),
        "syncd.base": base.name.partition("/")[
            2
        ],  # without the host: each region has one, and one image has one digest
        "syncd.digest": manifest.digest.hex,
        "syncd.model": str(manifest.model),
        "syncd.version": str(manifest.version),
    }
    config = _document(_CONFIG, _config(base, layers, variables, annotations))
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": f"sha256:{config.digest}", "size": len(config.body)},
        "layers": [layer.row for layer in (*base.layers, *layers)],
        "annotations": annotations,
    }
    return Image(config, _document(OCI_MANIFEST, body))


def _config(
    base: BaseImage, layers: Sequence[Blob], variables: Mapping[str, str], notes: Mapping[str, str]
) -> dict[str, Any]:
    what = f"the configuration of {base.name}"
    found = dict(base.config)
    run = dict(object_at(found.get("config") or {}, f"{what}: 'config'"))
    variables_before = list_at(run.get("Env") or [], f"{what}: 'Env'", _ROWS_MAX)
    kept = [each for each in variables_before if str(each).partition("=")[0] not in variables]
    run["Env"] = [*kept, *(f"{name}={value}" for name, value in sorted(variables.items()))]
    run["Labels"] = {**object_at(run.get("Labels") or {}, f"{what}: 'Labels'"), **notes}
    diffs = [*_diffs(base), *(f"sha256:{layer.digest}" for layer in layers)]
    found |= {"config": run, "rootfs": {"type": "layers", "diff_ids": diffs}}
    if found.get("history"):
        made = {"created": found["created"]} if "created" in found else {}
        ours = [{**made, "created_by": f"syncd bake: {layer.notes['syncd.files']}"} for layer in layers]
        found["history"] = [*list_at(found["history"], f"{what}: 'history'", _ROWS_MAX), *ours]
    return found


def _diffs(base: BaseImage) -> list[Any]:
    what = f"the configuration of {base.name}"
    return list_at(
        object_at(base.config.get("rootfs"), f"{what}: 'rootfs'").get("diff_ids"), f"{what}: 'diff_ids'", _ROWS_MAX
    )


def _chosen(index: Mapping[str, Any], what: str) -> Digest:
    """The image of our platform. Raises Invalid if the index has none; the message lists its platforms."""
    seen: list[str] = []
    for each in list_at(index.get("manifests"), f"the index of {what}", _ROWS_MAX):
        row = object_at(each, f"an image of {what}")
        platform = object_at(row.get("platform") or {}, f"the platform of an image of {what}")
        found = (str(platform.get("os", "")), str(platform.get("architecture", "")))
        seen.append("/".join(found))
        if found == PLATFORM:
            return Digest.parse(text_at(row, "digest", what))
    raise Invalid(f"{what}: expected an image for {'/'.join(PLATFORM)}, got {_listed(seen)}")


def _blob(row: Mapping[str, Any], what: str) -> Blob:
    kind = text_at(row, "mediaType", f"a layer of {what}")
    kind = _DOCKER_LAYERS.get(kind, kind)
    if kind not in _LAYERS:
        raise Invalid(
            f"{what}: a layer is {kind[:80]!r}, which cannot be copied", hint="build the base from plain layers"
        )
    digest = Digest.parse(text_at(row, "digest", f"a layer of {what}"))
    return Blob(kind, digest, size_at(row, "size", f"a layer of {what}"), {})


def _check(base: BaseImage) -> None:
    platform = (str(base.config.get("os", "")), str(base.config.get("architecture", "")))
    if platform != PLATFORM:
        raise Invalid(f"{base.name}: expected an image for {'/'.join(PLATFORM)}, got {_listed(['/'.join(platform)])}")
    if len(_diffs(base)) != len(base.layers):
        raise Invalid(f"{base.name}: it has {len(base.layers)} layers and {len(_diffs(base))} layer digests")


def _listed(platforms: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(each[:40] for each in platforms)) or "nothing"


def _document(kind: str, value: Mapping[str, Any]) -> ManifestDocument:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    return ManifestDocument(kind, body, Digest(hashlib.sha256(body).hexdigest()))
