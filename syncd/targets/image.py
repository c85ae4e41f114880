"""Image target: versions become images in a repository, each a few layers over a base.

It is not a `Target`: a layer takes its bytes in order, from the first to the last, so it cannot be written by parts in
any order. The order of writes is that of `oci.build`; the manifest under its tag is the seal. Nothing is deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from threading import Event
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.errors import Corrupt, NotFound
from syncd.http.responses import object_at, parse_json
from syncd.oci.build import BuildSettings, BuiltImage, ImageBuilder, ImageRecipe
from syncd.oci.copy_image import blobs_of, copy_missing
from syncd.oci.images import BaseImage, base_of
from syncd.oci.layers import Source, layers_of
from syncd.oci.push import PushRoute, UploadJournal
from syncd.oci.references import Reference
from syncd.oci.repository import ManifestDocument, Repository
from syncd.targets.base import Depth
from syncd.watchdog import note_activity

_SOURCE: Final = "syncd.source"
_VERSION_DIGEST: Final = "syncd.digest"
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


class FaultKind(Enum):
    """What is wrong with a part of an image."""

    MISSING = auto()  # to be pushed
    DAMAGED = auto()  # it exists with other bytes, and a registry never replaces a blob that it has
    ANOTHER = auto()  # the tag names another image


@dataclass(frozen=True, slots=True)
class ImageFault:
    """One thing that is wrong with an image. As text: where, and what."""

    kind: FaultKind
    text: str

    def __str__(self) -> str:
        return self.text


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

    @property
    def pulled_from(self) -> Repository:
        """The repository, to read images from."""
        return self._repository

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

    def copy_missing(
        self, tag: str, digest: Digest, others: Sequence[Repository], notes: UploadJournal, *, stop: Event
    ) -> tuple[str, ...]:
        """Copy what is missing of an image from other repositories. See `oci.copy_image.copy_missing`."""
        bake = self.settings.bake
        route = PushRoute(self._repository, notes, stop, bake.chunk_bytes, bake.pace)
        return copy_missing(route, tag, digest, others)

    def faults(
        self, manifest: Manifest, tag: str, digest: Digest, depth: Depth = Depth.CHECKSUMS
    ) -> tuple[ImageFault, ...]:
        """What is wrong with an image; nothing where all is well. An absent one is an answer, not an error.

        SEAL reads the tag; SIZES and CHECKSUMS the manifest by its digest too, and ask for every layer; BYTES reads
        every layer and hashes it.

        Raises:
            Unavailable, Refused: The check failed; nothing is known.
        """
        try:
            tagged = self._found(tag)
            if tagged is None:
                return (ImageFault(FaultKind.MISSING, f"{tag}: missing"),)
            if tagged.digest != digest:
                said = f"{tag}: it is sha256:{tagged.digest}, sha256:{digest} was pushed"
                return (ImageFault(FaultKind.ANOTHER, said),)
            if depth is Depth.SEAL:
                return ()
            found = self._found(f"sha256:{digest}")
            if found is None:
                return (ImageFault(FaultKind.MISSING, f"sha256:{digest}: missing"),)
            return tuple(self._inside(manifest, found, depth))
        except Corrupt as error:  # the manifest itself
            return (ImageFault(FaultKind.DAMAGED, error.message),)

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
        blobs = list(blobs_of(tagged, f"{self.repository}@sha256:{tagged.digest}"))
        missing = [
            f"blob {blob.short}" for blob, size_bytes in blobs if not self._repository.has_blob(blob, size_bytes)
        ]
        return ReplicaState(len(blobs), tuple(missing))

    def _inside(self, manifest: Manifest, image: ManifestDocument, depth: Depth) -> list[ImageFault]:
        what = f"{self.repository}@sha256:{image.digest}"
        document = object_at(parse_json(image.body, what), what)
        notes = object_at(document.get("annotations") or {}, f"the annotations of {what}")
        label = str(notes.get(_VERSION_DIGEST, "nothing"))
        faults = [self._blob_fault(digest, size_bytes, depth) for digest, size_bytes in blobs_of(image, what)]
        if label != manifest.digest.hex:
            said = f"expected the label {manifest.digest}, got {label[:80]}"
            faults.insert(0, ImageFault(FaultKind.ANOTHER, said))
        return [fault for fault in faults if fault is not None]

    def _blob_fault(self, digest: Digest, size_bytes: int, depth: Depth) -> ImageFault | None:
        try:
            if not self._repository.has_blob(digest, size_bytes):
                return ImageFault(FaultKind.MISSING, f"blob {digest.short}: missing")
        except Corrupt as error:
            return ImageFault(FaultKind.DAMAGED, error.message)
        if depth is not Depth.BYTES:
            return None
        sha, read_bytes = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_READ_BYTES))
        with self._repository.open(digest, size_bytes) as stream:
            while count := stream.readinto(buffer):
                sha.update(buffer[:count])
                read_bytes += count
                note_activity()
        found = sha.hexdigest()
        if found == digest.hex:
            return None
        return ImageFault(FaultKind.DAMAGED, f"blob {digest.short}: sha256 is {found}, after {read_bytes} bytes")

    def _found(self, reference: str) -> ManifestDocument | None:
        try:
            return self._repository.manifest(reference)
        except NotFound:
            return None

    def _baker(self, notes: UploadJournal, stop: Event) -> ImageBuilder:
        return ImageBuilder(self._repository, notes, self.settings.bake, stop)
