"""Baking: a version's files are pushed as layers over a base image, without a daemon and without a temporary file.

The order of writes: the base's layers are mounted or copied, ours are pushed, then the configuration, and last the
manifest under its tag. Until that nobody sees an image; what is there of a bake that was killed is found by looking.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from syncd import retry
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.errors import Cancelled, Corrupt, Invalid, Unavailable
from syncd.oci.errors import Unchunked, UploadLost
from syncd.oci.images import LAYERS_MAX, Base, Blob, blob_of, image_of
from syncd.oci.layers import ALONE_BYTES, Layer, Source, TarStream, layers_of
from syncd.oci.references import tag_of
from syncd.oci.repository import Repository
from syncd.oci.uploads import BlobUpload
from syncd.registry.base import Stream

CHUNK_BYTES: Final = 16 << 20
LAYERS_IN_FLIGHT: Final = 3  # × 16 MiB = 48 MiB of buffers
LIMIT_BYTES: Final = 30_000_000_000  # of a GPU function's image as it lies in the repository
_RETRY: Final = retry.Retry(attempts_max=4, elapsed_max_s=60.0)
_TRIES: Final = 3  # for a blob whose upload the registry lost
_log = structlog.get_logger("syncd.bake")

T = TypeVar("T")

Opening = Callable[[], AbstractContextManager[Stream]]


class Notes(Protocol):
    """What outlasts a crash, by the recipe of a layer or the digest of a base's. Safe from several threads."""

    def find(self, recipe: Digest) -> str | None:
        """Where the upload of this layer goes on, if one was begun."""
        ...

    def opened(self, recipe: Digest, location: str) -> None:
        """Remember where it goes on; before its first byte, and after each chunk."""
        ...

    def closed(self, recipe: Digest) -> None:
        """Forget the upload. Repeating it is success."""
        ...

    def known(self, recipe: Digest) -> Digest | None:
        """The digest of the layer, wherever it was made before: it follows from the recipe."""
        ...

    def proven(self, recipe: Digest, digest: Digest) -> None:
        """Remember the digest, once every file in it was proven."""
        ...


class How(StrEnum):
    """How a blob came into the repository."""

    KEPT = "kept"  # it was there
    MOUNTED = "mounted"  # the registry took it from another repository
    PUSHED = "pushed"


@dataclass(frozen=True, slots=True)
class Carried:
    """One layer of the image, and how it came there. `bytes_sent` is what this bake has sent of it."""

    digest: Digest
    size_bytes: int
    title: str
    how: How
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Baked:
    """An image that can be pulled."""

    repository: str
    tag: str
    digest: Digest
    base: str
    base_digest: Digest
    layers: tuple[Carried, ...]

    @property
    def reference(self) -> str:
        """Its name with tag and digest."""
        return f"{self.repository}:{self.tag}@sha256:{self.digest}"


@dataclass(frozen=True)
class Recipe:
    """What is baked into an image beside the files: where they lie, the function's variables, the annotations."""

    directory: str
    variables: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BakeSettings:
    """What a bake may use. Memory is `chunk_bytes` × `layers_in_flight`, whatever the model's size."""

    chunk_bytes: int = CHUNK_BYTES
    layers_in_flight: int = LAYERS_IN_FLIGHT
    limit_bytes: int = LIMIT_BYTES
    alone_bytes: int = ALONE_BYTES


class Baker:
    """Bakes into one repository. For one bake: where it fails, `stop` is set, so that nothing of it goes on."""

    def __init__(
        self,
        repository: Repository,
        notes: Notes,
        settings: BakeSettings | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._repository = repository
        self._notes = notes
        self._settings = settings or BakeSettings()
        self._stop = stop or threading.Event()

    def bake(self, manifest: Manifest, source: Source, base: Base, recipe: Recipe) -> Baked:
        """Make the image be there. Repeating it after a crash sends what had not arrived, and ends with the same image.

        Raises:
            Invalid: The image would be larger than the platform takes, or have more layers than it can mount.
            Corrupt: A file is not what the manifest says, or the registry has something else than was sent.
            Conflict: Another image has the tag.
            Cancelled: It was told to stop. What was accepted is kept for the next time.
            NotFound, Unavailable, Refused, Failed: As the source and the registry say, past all tries.
        """
        layers = layers_of(manifest, recipe.directory, self._settings.alone_bytes)
        self.check(base, layers)
        below = self._together([partial(self._carry_base, base, blob) for blob in base.layers])
        ours = self._together([partial(self._carry, layer, source) for layer in layers])
        blobs = [blob_of(each.digest, each.size_bytes, each.title) for each in ours]
        image = image_of(base, manifest, blobs, recipe.variables, recipe.notes)
        config = image.config
        push = _Push(self._repository, self._notes, self._settings.chunk_bytes, self._stop)
        if not self._repository.has_blob(config.digest, len(config.body)):
            push.run(config.digest, len(config.body), partial(_Text, config.body), config.digest)
        tag = tag_of(manifest, image.manifest.digest)
        self._repository.push_manifest(tag, image.manifest)
        digest = image.manifest.digest
        return Baked(str(self._repository), tag, digest, base.name, base.digest, (*below, *ours))

    def check(self, base: Base, layers: Sequence[Layer]) -> None:
        """Before a byte moves. Raises Invalid: as `bake` does for what is too much."""
        size_bytes = base.size_bytes + sum(layer.size_bytes for layer in layers)
        if size_bytes > self._settings.limit_bytes:
            raise Invalid(
                f"the image would have {size_bytes} bytes, {base.size_bytes} of them the base; "
                f"{self._settings.limit_bytes} are allowed",
                hint="serve a model of this size from NAS or OSS, or give the limit of your account",
            )
        count = len(base.layers) + len(layers)
        if count > LAYERS_MAX:
            raise Invalid(
                f"the image would have {count} layers, {LAYERS_MAX} can be mounted",
                hint="serve a model of so many files from NAS or OSS",
            )

    def _carry(self, layer: Layer, source: Source) -> Carried:
        known = self._notes.known(layer.recipe)
        if known is not None and self._repository.has_blob(known, layer.size_bytes):
            return self._told(Carried(known, layer.size_bytes, layer.title, How.KEPT))
        push = _Push(self._repository, self._notes, self._settings.chunk_bytes, self._stop)
        digest = push.run(layer.recipe, layer.size_bytes, lambda: TarStream(layer, source, self._stop.wait))
        self._notes.proven(layer.recipe, digest)
        return self._told(Carried(digest, layer.size_bytes, layer.title, How.PUSHED, push.bytes_sent))

    def _carry_base(self, base: Base, blob: Blob) -> Carried:
        title = f"base layer {blob.digest.short}"
        carried = Carried(blob.digest, blob.size_bytes, title, How.KEPT)
        if self._repository.has_blob(blob.digest, blob.size_bytes):
            return self._told(carried)
        begun: BlobUpload | None = None
        if base.repository.origin == self._repository.origin:
            begun = self._repository.mount(blob.digest, base.repository.name)
            if begun is None:
                return self._told(Carried(blob.digest, blob.size_bytes, title, How.MOUNTED))
        push = _Push(self._repository, self._notes, self._settings.chunk_bytes, self._stop, begun)
        push.run(blob.digest, blob.size_bytes, lambda: base.repository.open(blob.digest, blob.size_bytes), blob.digest)
        return self._told(Carried(blob.digest, blob.size_bytes, title, How.PUSHED, push.bytes_sent))

    def _told(self, carried: Carried) -> Carried:
        _log.info("layer there", title=carried.title, how=carried.how, bytes=carried.bytes_sent,
                  digest=carried.digest.short)  # fmt: skip
        return carried

    def _together(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """What each says, in order. The first error stops the others at their next chunk, and is raised."""
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


class _Push:
    """One blob from a stream into the repository, by chunks from one buffer."""

    def __init__(
        self,
        repository: Repository,
        notes: Notes,
        chunk_bytes: int,
        stop: threading.Event,
        begun: BlobUpload | None = None,
    ) -> None:
        self.bytes_sent = 0
        self._repository = repository
        self._notes = notes
        self._chunk_bytes = chunk_bytes
        self._stop = stop
        self._begun = begun

    def run(
        self,
        key: Digest,
        size_bytes: int,
        stream: Opening,
        want: Digest | None = None,
    ) -> Digest:
        """Push it, and say its digest; `want` is what that must be, where it is known. `key` names it in the notes."""
        tried = 0
        while True:
            try:
                return self._in_chunks(key, size_bytes, stream, want)
            except UploadLost as error:
                self._notes.closed(key)
                tried += 1
                if tried == _TRIES:
                    raise Unavailable(error.message, hint="the registry loses uploads; look at its storage") from error
                _log.warning("the registry lost an upload, it is begun anew", error=error.message)
            except Unchunked as error:
                self._notes.closed(key)
                _log.warning("the registry takes no chunks, the blob is sent whole", error=error.message)
                return self._whole(size_bytes, stream, want)

    def _in_chunks(self, key: Digest, size_bytes: int, stream: Opening, want: Digest | None) -> Digest:
        upload = self._upload(key)
        try:
            digest = self._send(upload, key, size_bytes, stream)
            _prove(digest, want, size_bytes)
            self._complete(upload, digest, size_bytes)
        except Corrupt:
            upload.abort()
            self._notes.closed(key)
            raise
        self._notes.closed(key)
        return digest

    def _complete(self, upload: BlobUpload, digest: Digest, size_bytes: int) -> None:
        """Where an answer is lost, whether the blob is there says what became of it."""
        is_asked = False

        def end() -> None:
            nonlocal is_asked
            if is_asked and self._repository.has_blob(digest, size_bytes):
                return
            is_asked = True
            upload.complete(digest, size_bytes)

        retry.call(_RETRY, end, wait=self._stop.wait)
        if not self._repository.has_blob(digest, size_bytes):
            raise UploadLost(f"{self._repository}: blob {digest} was accepted and is not there")

    def _upload(self, key: Digest) -> BlobUpload:
        location = self._notes.find(key)
        if location is not None:
            return self._repository.resume(location)
        upload, self._begun = self._begun or self._repository.begin(), None
        self._notes.opened(key, upload.location)
        return upload

    def _send(self, upload: BlobUpload, key: Digest, size_bytes: int, stream: Opening) -> Digest:
        """What the registry has already is read and hashed again, but not sent."""
        sha = hashlib.sha256()
        seen_bytes = 0
        chunk_bytes = min(max(self._chunk_bytes, upload.chunk_bytes_min), size_bytes)
        for data in self._chunks(stream, chunk_bytes):
            sha.update(data)
            has_bytes = max(0, min(data.nbytes, upload.offset_bytes - seen_bytes))
            seen_bytes += data.nbytes
            if has_bytes < data.nbytes:
                upload.send(data[has_bytes:])
                self.bytes_sent += data.nbytes - has_bytes
                self._notes.opened(key, upload.location)
        if seen_bytes != size_bytes:
            raise Corrupt(f"{key}: {seen_bytes} bytes were read, {size_bytes} were to be")
        return Digest(sha.hexdigest())

    def _chunks(self, stream: Opening, chunk_bytes: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(max(1, chunk_bytes)))
        with stream() as opened:
            while count := _fill(opened, buffer):
                if self._stop.is_set():
                    raise Cancelled("told to stop while pushing a layer")
                yield buffer[:count]

    def _whole(self, size_bytes: int, stream: Opening, want: Digest | None) -> Digest:
        """In one request, which has to name the digest: where that is not known, everything is read twice."""
        if want is None:
            sha = hashlib.sha256()
            for data in self._chunks(stream, self._chunk_bytes):
                sha.update(data)
            want = Digest(sha.hexdigest())
        self._repository.push_whole(want, size_bytes, lambda: map(bytes, self._chunks(stream, 1 << 18)))
        self.bytes_sent += size_bytes
        if not self._repository.has_blob(want, size_bytes):
            raise Unavailable(f"{self._repository}: blob {want} was accepted and is not there")
        return want


class _Text:
    """Bytes that are here already; see `registry.base.Stream`."""

    def __init__(self, text: bytes) -> None:
        self._rest = memoryview(text)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def __enter__(self) -> _Text:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def _prove(digest: Digest, want: Digest | None, size_bytes: int) -> None:
    if want is not None and digest != want:
        raise Corrupt(f"sha256 of the blob is {digest}, {want} was to be, after {size_bytes} bytes")


def _fill(stream: Stream, buffer: memoryview) -> int:
    """As much as there is room for; less only at the end."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled
