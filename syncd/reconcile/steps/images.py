"""Placing a version at a target of images: find the base once, bake, prove by digest, record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from syncd.artifact.manifest import Entry, Manifest
from syncd.errors import Corrupt
from syncd.oci.build import BuiltImage
from syncd.oci.images import BaseImage
from syncd.oci.layers import Source
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import Attempt
from syncd.reconcile.steps.build_image import bytes_sent, record_built
from syncd.reconcile.steps.placement_record import check_not_withdrawn, record_partial
from syncd.reconcile.views.plans.plan import is_there
from syncd.state.content import base_images, images, placements
from syncd.state.content.layers import SqlUploadJournal
from syncd.state.records import ImageBase, PlacedImage, ReleaseBase, Version
from syncd.state.releases import steps
from syncd.targets.image import ImageTarget
from syncd.transfer import FailoverSource
from syncd.values.source import Stream

log = structlog.get_logger("syncd.place")


def place_image(
    job: Attempt, version: Version, manifest: Manifest, name: str, sources: Callable[[], Mapping[str, Source]]
) -> None:
    """Have the version's image in a repository. Of one that is there and whole nothing is read, and nothing sent.

    Raises:
        Corrupt: The registry does not have what was pushed.
        And as `ImageTarget.base`, `ImageTarget.bake` and the sources do.
    """
    context = job.context
    target = context.images[name]
    check_not_withdrawn(job, version, name)
    with context.state.read() as conn:
        base = base_images.wanted(conn, job.release.id, version.id, name)
        there = images.over(conn, version.id, name, base.digest) if base else None
        stands = placements.get(conn, version.id, name).phase
    if stands is not PlacementPhase.SEALED:
        record_partial(job, version, name, PlacementPhase.COPYING)
    if there is None or not is_there(target, manifest, there):
        there = _built(job, version, manifest, target, sources)
    record_partial(job, version, name, PlacementPhase.SEALED)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        base_images.note(conn, ReleaseBase(job.release.id, version.id, name, there.base, there.base_digest))
        detail = {"targets": [name], "image": there.reference}
        steps.done(conn, job.step.id, job.step.attempt, context.state.now(conn), detail)


def _built(
    job: Attempt, version: Version, manifest: Manifest, target: ImageTarget, sources: Callable[[], Mapping[str, Source]]
) -> PlacedImage:
    context, started = job.context, time.monotonic()
    base, is_another = _base(job, version, target)
    if not is_another:  # else the image that is live stays as proven as it was, whatever becomes of this one
        record_partial(job, version, target.name, PlacementPhase.COPYING)
    passing = _ProgressAdapter(_LazyStream(sources))
    tell = partial(_tell, job, version, manifest, target.name, passing)
    job.on_beat.append(tell)
    notes = SqlUploadJournal(context.state, target.repository)
    try:
        baked = target.bake(manifest, passing, base, notes, registry=version.registry, stop=job.stop)
    finally:
        job.on_beat.remove(tell)
    faults = target.faults(manifest, baked.tag, baked.digest)
    if faults:
        raise Corrupt(
            f"{baked.reference} was pushed: {'; '.join(map(str, faults))[:500]}",
            hint="check the storage of the image registry",
        )
    placed = _recorded(job, version, manifest, target, baked)
    log.info(
        "image.pushed",
        message="The image is in its repository, with every layer proven.",
        target=target.name,
        region=context.topology.regions[target.name],
        image=placed.reference,
        bytes=bytes_sent(baked),
        seconds=round(time.monotonic() - started, 3),
    )
    return placed


def _recorded(
    job: Attempt, version: Version, manifest: Manifest, target: ImageTarget, baked: BuiltImage
) -> PlacedImage:
    with job.context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = job.context.state.now(conn)
        placed = PlacedImage(
            version.id,
            target.name,
            baked.repository,
            target.settings.served_from,
            baked.tag,
            baked.digest,
            baked.base,
            baked.base_digest,
            target.directory(manifest),
            now,
        )
        images.placed(conn, placed)
        record_built(conn, version, baked, now, job.release.id)
        counters = {"bytes_total": manifest.size_bytes, "bytes_sent": bytes_sent(baked)}
        placements.note_progress(conn, version.id, target.name, bytes_sent(baked), counters, now)
    return placed


def _base(job: Attempt, version: Version, target: ImageTarget) -> tuple[BaseImage, bool]:
    """The base as it was when this version was first laid over it, so that a restart ends with the same image.

    Or the newer one that this release was begun for; the second value says so.
    """
    with job.context.state.read() as conn:
        known = base_images.wanted(conn, job.release.id, version.id, target.name)
    if known is not None and known.base == str(target.settings.base):
        return target.base(known.digest), isinstance(known, ReleaseBase) and known.was is not None
    base = target.base()
    with job.context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = job.context.state.now(conn)
        images.found_base(conn, ImageBase(version.id, target.name, base.name, base.digest, now))
    return base, False


def _tell(job: Attempt, version: Version, manifest: Manifest, name: str, passing: _ProgressAdapter) -> None:
    counters = {"bytes_total": manifest.size_bytes, "bytes_sent": passing.read_bytes}
    with job.context.state.write() as conn:
        placements.note_progress(conn, version.id, name, passing.read_bytes, counters, job.context.state.now(conn))


class _LazyStream:
    """Sources, resolved at the first byte: where every layer exists already, none is asked."""

    def __init__(self, sources: Callable[[], Mapping[str, Source]]) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._found: Source | None = None

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        with self._lock:
            if self._found is None:
                found = self._sources()
                log.info(
                    "sources.chosen",
                    message="The bytes are read from these sources, in this order.",
                    sources=list(found),
                )
                self._found = FailoverSource(tuple(found.items()))
        return self._found(entry, offset_bytes)


class _ProgressAdapter:
    """A source whose bytes are counted as they pass. After a restart some of them are only hashed, and not sent."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self.read_bytes = 0

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        return _CountingStream(self._source(entry, offset_bytes), self._count)

    def _count(self, read_bytes: int) -> None:
        with self._lock:
            self.read_bytes += read_bytes


class _CountingStream:
    def __init__(self, stream: Stream, on_bytes: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes

    def readinto(self, buffer: memoryview) -> int:
        count = self._stream.readinto(buffer)
        self._on_bytes(count)
        return count

    def __enter__(self) -> _CountingStream:
        self._stream.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)
