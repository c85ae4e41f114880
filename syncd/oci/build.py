"""Image builder: pushes a version's files as layers over a base image, without a daemon or temporary files.

Order of writes: the base's layers are mounted or copied, ours are pushed, then the configuration, and last the
manifest under its tag. Before that no image is visible; the next build finds what a killed one left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final, TypeVar

import structlog

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.errors import Invalid
from syncd.oci.images import LAYERS_MAX, BaseImage, Blob, blob_of, image_of
from syncd.oci.layers import ALONE_BYTES, FileLayer, Source, TarStream, layers_of
from syncd.oci.push import BlobPush, PushRoute, RateLimit, Text, UploadJournal
from syncd.oci.references import tag_of
from syncd.oci.repository import Repository
from syncd.oci.uploads import BlobUpload

CHUNK_BYTES: Final = 16 << 20
LAYERS_IN_FLIGHT: Final = 3  # × 16 MiB = 48 MiB of buffers
LIMIT_BYTES: Final = 30_000_000_000  # compressed size of a GPU function's image
_log = structlog.get_logger("syncd.images")

T = TypeVar("T")


class LayerOrigin(StrEnum):
    """How a blob came into the repository."""

    KEPT = "kept"  # it existed there
    MOUNTED = "mounted"  # the registry took it from another repository
    PUSHED = "pushed"


@dataclass(frozen=True, slots=True)
class SentLayer:
    """One layer of the image, and how it came there. `bytes_sent` is what this build sent of it."""

    digest: Digest
    size_bytes: int
    title: str
    how: LayerOrigin
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that can be pulled."""

    repository: str
    tag: str
    digest: Digest
    base: str
    base_digest: Digest
    layers: tuple[SentLayer, ...]

    @property
    def reference(self) -> str:
        """Its name with tag and digest."""
        return f"{self.repository}:{self.tag}@sha256:{self.digest}"


@dataclass(frozen=True)
class ImageRecipe:
    """What an image has beside the files: their directory, the function's variables, the annotations."""

    directory: str
    variables: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """The resources of a build. Memory is `chunk_bytes` × `layers_in_flight`, whatever the model's size.

    `pace` limits the rate of bytes sent, at every try; None: no limit.
    """

    chunk_bytes: int = CHUNK_BYTES
    layers_in_flight: int = LAYERS_IN_FLIGHT
    limit_bytes: int = LIMIT_BYTES
    alone_bytes: int = ALONE_BYTES
    pace: RateLimit | None = None


class ImageBuilder:
    """Builds one image in one repository. When it fails, `stop` is set, so that its other transfers end."""

    def __init__(
        self,
        repository: Repository,
        notes: UploadJournal,
        settings: BuildSettings | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._repository = repository
        self._journal = notes
        self._settings = settings or BuildSettings()
        self._stop = stop or threading.Event()

    def bake(self, manifest: Manifest, source: Source, base: BaseImage, recipe: ImageRecipe) -> BuiltImage:
        """Create the image. Repeating it after a crash sends the missing bytes, and ends with the same image.

        Raises:
            Invalid: The image would be larger than the platform accepts, or have more layers than can be mounted.
            Corrupt: A file does not match the manifest, or the registry has other bytes than were sent.
            Conflict: Another image has the tag.
            Cancelled: A stop was requested. What the registry accepted is kept for the next time.
            NotFound, Unavailable, Refused, Failed: From the source and the registry, past all tries.
        """
        try:
            return self._baked(manifest, source, base, recipe)
        finally:
            self._repository.close_helpers()

    def check(self, base: BaseImage, layers: Sequence[FileLayer]) -> None:
        """Check the limits before a byte is sent. Raises Invalid as `bake`."""
        size_bytes = base.size_bytes + sum(layer.size_bytes for layer in layers)
        if size_bytes > self._settings.limit_bytes:
            raise Invalid(
                f"the image would have {size_bytes} bytes, {base.size_bytes} of them the base; "
                f"{self._settings.limit_bytes} are allowed",
                hint="serve a model of this size from NAS or OSS, or configure the limit of your account",
            )
        count = len(base.layers) + len(layers)
        if count > LAYERS_MAX:
            raise Invalid(
                f"the image would have {count} layers, {LAYERS_MAX} can be mounted",
                hint="serve a model of so many files from NAS or OSS",
            )

    def _baked(self, manifest: Manifest, source: Source, base: BaseImage, recipe: ImageRecipe) -> BuiltImage:
        layers = layers_of(manifest, recipe.directory, self._settings.alone_bytes)
        self.check(base, layers)
        below = self._in_parallel([partial(self._copy_base, base, blob) for blob in base.layers])
        ours = self._in_parallel([partial(self._send_layer, layer, source) for layer in layers])
        blobs = [blob_of(each.digest, each.size_bytes, each.title) for each in ours]
        image = image_of(base, manifest, blobs, recipe.variables, recipe.notes)
        config = image.config
        if self._repository.has_blob(config.digest, len(config.body)):
            self._forget(config.digest)
        else:
            self._push().run(config.digest, len(config.body), partial(Text, config.body), config.digest)
        tag = tag_of(manifest, image.manifest.digest)
        self._repository.push_manifest(tag, image.manifest)
        digest = image.manifest.digest
        return BuiltImage(str(self._repository), tag, digest, base.name, base.digest, (*below, *ours))

    def _send_layer(self, layer: FileLayer, source: Source) -> SentLayer:
        known = self._journal.known(layer.recipe)
        if known is not None and self._repository.has_blob(known, layer.size_bytes):
            self._forget(layer.recipe)
            return self._logged(SentLayer(known, layer.size_bytes, layer.title, LayerOrigin.KEPT))
        push = self._push()
        proven = partial(self._journal.proven, layer.recipe)
        tar = partial(TarStream, layer, source, self._stop.wait)
        digest = push.run(layer.recipe, layer.size_bytes, tar, proven=proven)
        return self._logged(SentLayer(digest, layer.size_bytes, layer.title, LayerOrigin.PUSHED, push.bytes_sent))

    def _copy_base(self, base: BaseImage, blob: Blob) -> SentLayer:
        title = f"base layer {blob.digest.short}"
        kept = SentLayer(blob.digest, blob.size_bytes, title, LayerOrigin.KEPT)
        if self._repository.has_blob(blob.digest, blob.size_bytes):
            self._forget(blob.digest)
            return self._logged(kept)
        begun: BlobUpload | None = None
        if base.repository.origin == self._repository.origin:
            begun = self._repository.mount(blob.digest, base.repository.name)
            if begun is None:
                return self._logged(SentLayer(blob.digest, blob.size_bytes, title, LayerOrigin.MOUNTED))
        push = self._push(begun)
        push.run(blob.digest, blob.size_bytes, lambda: base.repository.open(blob.digest, blob.size_bytes), blob.digest)
        return self._logged(SentLayer(blob.digest, blob.size_bytes, title, LayerOrigin.PUSHED, push.bytes_sent))

    def _forget(self, key: Digest) -> None:
        """Delete the journal entry of an existing blob: a build that was killed after the upload has left it."""
        if self._journal.find(key) is not None:
            self._journal.closed(key)

    def _push(self, begun: BlobUpload | None = None) -> BlobPush:
        settings = self._settings
        return BlobPush(
            PushRoute(self._repository, self._journal, self._stop, settings.chunk_bytes, settings.pace), begun
        )

    def _logged(self, layer: SentLayer) -> SentLayer:
        _log.info("image.layer_ready", message="A layer is in the repository.", title=layer.title, how=layer.how,
                  bytes=layer.bytes_sent, digest=layer.digest.short)  # fmt: skip
        return layer

    def _in_parallel(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """The results in order. The first error stops the others at their next chunk, and is raised."""
        if not works:
            return []
        with ThreadPoolExecutor(min(self._settings.layers_in_flight, len(works))) as pool:
            jobs = [pool.submit(work) for work in works]
            try:
                done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
                if failed := next((job for job in done if job.exception() is not None), None):
                    failed.result()
                return [job.result() for job in jobs]
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
