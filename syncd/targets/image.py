"""Image target: versions become images in a repository, each a few layers over a base.

It is not a `Target`: a layer takes its bytes in order, from the first to the last, so it cannot be written by parts in
any order. The order of writes is that of `oci.build`; the manifest under its tag is the seal. Nothing is deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.errors import NotFound
from syncd.http.responses import list_at, object_at, parse_json, size_at, text_at
from syncd.oci.build import BuildSettings, BuiltImage, ImageBuilder, ImageRecipe
from syncd.oci.images import BaseImage, base_of
from syncd.oci.layers import Source, layers_of
from syncd.oci.push import UploadJournal
from syncd.oci.references import Reference
from syncd.oci.repository import ManifestDocument, Repository
from syncd.targets.base import Depth
from syncd.watchdog import note_activity

_SOURCE: Final = "syncd.source"
_VERSION_DIGEST: Final = "syncd.digest"
_LAYERS_MAX: Final = 1000
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Base of an image, the directory of the files in it, and its size limit.

    `{model}` in `directory` is the model's name. `served_from` is the repository as functions name it.
    """

    base: Reference
    directory: str
    served_from: str
    bake: BuildSettings


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """What a bake would do. `send_bytes` is the most that can be needed: some of it may be there unknown to the record.

    `copied_bytes` are of the base's layers that are not in the repository: they are mounted there, or copied.
    """

    send_bytes: int
    send_layers: int
    kept_bytes: int
    copied_bytes: int


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """How far an image has arrived that replication brings. `other` is the digest that its tag has instead."""

    blobs: int = 0
    missing: tuple[str, ...] = ()
    other: Digest | None = None


def recipe_of(manifest: Manifest, directory: str, source: str) -> ImageRecipe:
    """What an image carries beside the files: to the function in its variables, to people in labels and annotations."""
    variables = {
        "SYNCD_DIGEST": manifest.digest.hex,
        "SYNCD_MODEL": manifest.model,
        "SYNCD_PATH": directory,
        "SYNCD_VERSION": manifest.version,
    }
    return ImageRecipe(directory, variables, {_SOURCE: source})


class ImageTarget:
    """One repository that versions are pushed to. Safe from several threads."""

    def __init__(self, name: str, repository: Repository, base: Repository, settings: ImageSettings) -> None:
        """Makes no request. `base` is the repository that the base is read from."""
        self.name: Final = name
        self.settings: Final = settings
        self._repository = repository
        self._base = base

    @property
    def repository(self) -> str:
        """Where images go: host and name."""
        return str(self._repository)

    def directory(self, manifest: Manifest) -> str:
        """Directory of a version's files in its image."""
        return self.settings.directory.replace("{model}", manifest.model)

    def base(self, digest: Digest | None = None) -> BaseImage:
        """The base as it is named in the settings, or as it was when its `digest` was recorded. Raises as `base_of`."""
        named = self.settings.base
        wanted = named if digest is None else replace(named, tag="", digest=digest)
        return replace(base_of(self._base, wanted), name=str(named))  # the image must not depend on how it was found

    def outlook(self, manifest: Manifest, base: BaseImage, notes: UploadJournal) -> ImagePlan:
        """What a build would send; reads only.

        Raises:
            Invalid: The image would be larger than the platform takes.
            Unavailable, Refused: As the registry says.
        """
        layers = layers_of(manifest, self.directory(manifest), self.settings.bake.alone_bytes)
        self._baker(notes, Event()).check(base, layers)
        sent, kept_bytes = [], 0
        for layer in layers:
            known = notes.known(layer.recipe)
            if known is not None and self._repository.has_blob(known, layer.size_bytes):
                kept_bytes += layer.size_bytes
            else:
                sent.append(layer.size_bytes)
        below = [blob for blob in base.layers if not self._repository.has_blob(blob.digest, blob.size_bytes)]
        return ImagePlan(sum(sent), len(sent), kept_bytes, sum(blob.size_bytes for blob in below))

    def bake(
        self, manifest: Manifest, source: Source, base: BaseImage, notes: UploadJournal, *, registry: str, stop: Event
    ) -> BuiltImage:
        """Have the image there. Raises as `Baker.bake`; where it fails, `stop` is set."""
        recipe = recipe_of(manifest, self.directory(manifest), registry)
        return self._baker(notes, stop).bake(manifest, source, base, recipe)

    def faults(self, manifest: Manifest, tag: str, digest: Digest, depth: Depth = Depth.CHECKSUMS) -> tuple[str, ...]:
        """What is wrong with an image; nothing where all is well. An absent one is an answer, not an error.

        SEAL reads the tag; SIZES and CHECKSUMS the manifest by its digest too, and ask for every layer; BYTES reads
        every layer and hashes it.

        Raises:
            Unavailable, Refused: The check failed; nothing is known.
        """
        tagged = self._found(tag)
        if tagged is None:
            return (f"{tag}: missing",)
        if tagged.digest != digest:
            return (f"{tag}: it is sha256:{tagged.digest}, sha256:{digest} was pushed",)
        if depth is Depth.SEAL:
            return ()
        found = self._found(f"sha256:{digest}")
        if found is None:
            return (f"sha256:{digest}: missing",)
        return tuple(fault for fault in self._inside(manifest, found, depth) if fault)

    def arrival(self, tag: str, digest: Digest) -> ReplicaState:
        """How far an image is that is pushed elsewhere and brought here: its tag, its manifest, every blob it names.

        Raises:
            Corrupt: A blob is there with another size, or a manifest is not what its digest says.
            Unavailable, Refused: The check failed; nothing is known.
        """
        tagged = self._found(tag)
        if tagged is None:
            return ReplicaState(missing=(f"its tag {tag}",))
        if tagged.digest != digest:
            return ReplicaState(other=tagged.digest)
        blobs = list(self._blobs(tagged))
        missing = [
            f"blob {blob.short}" for blob, size_bytes in blobs if not self._repository.has_blob(blob, size_bytes)
        ]
        return ReplicaState(len(blobs), tuple(missing))

    def _inside(self, manifest: Manifest, image: ManifestDocument, depth: Depth) -> list[str]:
        what = f"{self.repository}@sha256:{image.digest}"
        document = object_at(parse_json(image.body, what), what)
        notes = object_at(document.get("annotations") or {}, f"the annotations of {what}")
        label = str(notes.get(_VERSION_DIGEST, "nothing"))
        faults = [] if label == manifest.digest.hex else [f"expected the label {manifest.digest}, got {label[:80]}"]
        return faults + [self._blob_fault(digest, size_bytes, depth) for digest, size_bytes in self._blobs(image)]

    def _blobs(self, image: ManifestDocument) -> Iterator[tuple[Digest, int]]:
        """The configuration and the layers, with their sizes."""
        what = f"{self.repository}@sha256:{image.digest}"
        document = object_at(parse_json(image.body, what), what)
        below: Sequence[object] = list_at(document.get("layers"), f"the layers of {what}", _LAYERS_MAX)
        for each in (document.get("config"), *below):
            row = object_at(each, f"a blob of {what}")
            yield Digest.parse(text_at(row, "digest", what)), size_at(row, "size", what)

    def _blob_fault(self, digest: Digest, size_bytes: int, depth: Depth) -> str:
        if not self._repository.has_blob(digest, size_bytes):
            return f"blob {digest.short}: missing"
        if depth is not Depth.BYTES:
            return ""
        sha, read_bytes = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_READ_BYTES))
        with self._repository.open(digest, size_bytes) as stream:
            while count := stream.readinto(buffer):
                sha.update(buffer[:count])
                read_bytes += count
                note_activity()
        found = sha.hexdigest()
        return "" if found == digest.hex else f"blob {digest.short}: sha256 is {found}, after {read_bytes} bytes"

    def _found(self, reference: str) -> ManifestDocument | None:
        try:
            return self._repository.manifest(reference)
        except NotFound:
            return None

    def _baker(self, notes: UploadJournal, stop: Event) -> ImageBuilder:
        return ImageBuilder(self._repository, notes, self.settings.bake, stop)
