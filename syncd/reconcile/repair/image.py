"""Repair of an image: layers, configuration and manifest that are gone are pushed again, to the same digests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from threading import Event

import structlog

from syncd.errors import Corrupt, NotFound, Unavailable
from syncd.oci.build import BuiltImage
from syncd.reconcile.repair.sources import RepairJob, RepairResult, sources_of
from syncd.state.content import images
from syncd.state.content.layers import SqlUploadJournal
from syncd.state.records import PlacedImage
from syncd.targets.base import Depth
from syncd.transfer import FailoverSource, Source, proven_source

log = structlog.get_logger("syncd.repair")


def repair_image(job: RepairJob, depth: Depth) -> RepairResult:
    """Make every image of the version in this repository whole. Repeating it is harmless. No tag is moved.

    Raises:
        NotFound: The record has no image of it there.
        Corrupt: No place has the bytes, the tag names another image, or the repository keeps a damaged blob.
        Unavailable, Refused: As the repository and the sources do.
    """
    target = job.world.images[job.target]
    with job.world.state.read() as conn:
        recorded = [each for each in images.of_version(conn, job.version.id) if each.target == job.target]
    there = [each for each in recorded if each.repository == target.repository]
    if not there:
        raise NotFound(
            f"{job.target}: the record has no image of {job.manifest} in {target.repository}",
            hint=f"syncd publish {job.version.model}@{job.version.name} pushes it",
        )
    pushed = [each.reference for each in there if _push_again(job, each, depth)]
    if not pushed:
        return RepairResult()
    result = RepairResult(images=tuple(pushed), sources=tuple(sources_of(job)))
    log.warning(
        "placement.repaired",
        message="Damaged bytes of a version were restored from a proven copy.",
        model=job.version.model,
        version=job.version.name,
        target=job.target,
        **result.document(),
    )
    return result


def _push_again(job: RepairJob, image: PlacedImage, depth: Depth) -> bool:
    """Whether anything of the image was damaged; it is whole then."""
    target, manifest = job.world.images[job.target], job.manifest
    faults = target.faults(manifest, image.tag, image.digest, depth)
    if not faults:
        return False
    arrived = target.arrival(image.tag, image.digest)
    if arrived.other is not None:
        raise Corrupt(
            f"{job.target}: {image.reference} is sha256:{arrived.other}, sha256:{image.digest} was pushed",
            hint="another tool pushed this tag there, and syncd never moves a tag: delete the tag, and run this again",
        )
    sources = sources_of(job)
    try:
        built = _built(job, image, FailoverSource(tuple(sources.items())))
    except (Corrupt, NotFound, Unavailable):
        good = _proven(job, sources)
        built = _built(job, image, lambda entry, offset_bytes: good[entry.path](entry, offset_bytes))
    if built.digest != image.digest:
        raise Corrupt(
            f"{job.target}: built again the image of {manifest} is sha256:{built.digest}, "
            f"sha256:{image.digest} was pushed",
            hint=f"the build settings have changed: syncd publish {job.version.model}@{job.version.name} pushes "
            "it as they are now",
        )
    left = target.faults(manifest, image.tag, image.digest, depth)
    if left:
        raise Corrupt(
            f"{image.reference} was pushed again: {'; '.join(left)[:500]}",
            hint="the repository keeps a damaged blob: delete it there, and run this again",
        )
    return True


def _built(job: RepairJob, image: PlacedImage, source: Source) -> BuiltImage:
    target = job.world.images[job.target]
    stop = _Stop(job.stop)
    notes = SqlUploadJournal(job.world.state, target.repository)
    return target.bake(
        job.manifest, source, target.base(image.base_digest), notes, registry=job.version.registry, stop=stop
    )


def _proven(job: RepairJob, sources: Mapping[str, Source]) -> Mapping[str, Source]:
    prove = partial(proven_source, sources=sources, settings=job.settings, stop=job.stop)
    return {entry.path: sources[prove(entry)] for entry in job.manifest.entries}


class _Stop(Event):
    """Set when the process stops; a build that fails sets it for itself alone."""

    def __init__(self, outer: Event) -> None:
        super().__init__()
        self._outer = outer

    def is_set(self) -> bool:
        return super().is_set() or self._outer.is_set()
