"""Repair of an image: layers, configuration and manifest that are gone are pushed again, to the same digests.

They are copied from another repository that has the version, whatever became of the registry and the base. What none
has is built again from the version's files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from threading import Event, Lock

import structlog

from syncd.artifact.manifest import Entry
from syncd.errors import Corrupt, NotFound, Unavailable
from syncd.oci.build import BuiltImage
from syncd.reconcile.repair.sources import RepairJob, RepairResult, sources_of
from syncd.state.content import images
from syncd.state.content.layers import SqlUploadJournal
from syncd.state.records import PlacedImage
from syncd.targets.base import Depth
from syncd.targets.image import FaultKind, ImageTarget
from syncd.transfer import FailoverSource, Source, proven_source
from syncd.values.source import Stream

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
        recorded = images.of_version(conn, job.version.id)
    there = [each for each in recorded if each.target == job.target and each.repository == target.repository]
    elsewhere = _elsewhere(job, recorded)
    if not there:
        raise NotFound(
            f"{job.target}: the record has no image of {job.manifest} in {target.repository}",
            hint=f"syncd publish {job.version.model}@{job.version.name} pushes it",
        )
    pushed = [each.reference for each in there if _push_again(job, each, elsewhere, depth)]
    if not pushed:
        return RepairResult()
    sources = [*elsewhere, *sources_of(job)]
    result = RepairResult(images=tuple(pushed), sources=tuple(sources))
    log.warning(
        "placement.repaired",
        message="Damaged bytes of a version were restored from a proven copy.",
        model=job.version.model,
        version=job.version.name,
        target=job.target,
        **result.document(),
    )
    return result


def _elsewhere(job: RepairJob, recorded: Sequence[PlacedImage]) -> Mapping[str, ImageTarget]:
    """Targets whose repository has an image of the version, and is another one."""
    here, opened = job.world.images[job.target].repository, job.world.images
    return {
        each.target: opened[each.target]
        for each in recorded
        if each.target in opened and each.repository == opened[each.target].repository != here
    }


def _push_again(job: RepairJob, image: PlacedImage, elsewhere: Mapping[str, ImageTarget], depth: Depth) -> bool:
    """Whether anything of the image was damaged; it is whole then."""
    target, manifest = job.world.images[job.target], job.manifest
    faults = target.faults(manifest, image.tag, image.digest, depth)
    if not faults:
        return False
    if another := [fault for fault in faults if fault.kind is FaultKind.ANOTHER]:
        raise Corrupt(
            f"{job.target}: {image.reference}: {another[0]}",
            hint="another tool pushed this tag there, and syncd never moves a tag: delete the tag, and run this again",
        )
    failed: Corrupt | None = None
    try:
        _restore(job, image, elsewhere)
    except Corrupt as error:
        failed = error
    left = target.faults(manifest, image.tag, image.digest, depth)
    if kept := [str(fault) for fault in left if fault.kind is FaultKind.DAMAGED]:
        raise Corrupt(
            f"{job.target}: the repository keeps damaged bytes of {image.reference}: {'; '.join(kept)[:500]}",
            hint="a registry does not replace what it has: delete it there, and run this again",
        ) from failed
    if failed is not None:
        raise failed
    if left:
        raise Corrupt(
            f"{image.reference} was pushed again: {'; '.join(map(str, left))[:500]}",
            hint="check the storage of the image registry",
        )
    return True


def _restore(job: RepairJob, image: PlacedImage, elsewhere: Mapping[str, ImageTarget]) -> None:
    """Copy what is missing from other repositories, and else build the image again."""
    target = job.world.images[job.target]
    notes = SqlUploadJournal(job.world.state, target.repository)
    others, stop = [other.pulled_from for other in elsewhere.values()], _Stop(job.stop)
    left = target.copy_missing(image.tag, image.digest, others, notes, stop=stop)
    if not left:
        return
    try:
        built = _built_again(job, image)
    except (Corrupt, NotFound, Unavailable) as error:
        searched = f"{', '.join(elsewhere)} and it lack {', '.join(left)}"[:500] if elsewhere else "no other has it"
        said = f"{job.target}: {image.reference} cannot be repaired: {searched}; {error.message[:1000]}"
        if isinstance(error, Unavailable):
            raise Unavailable(said, hint=error.hint) from error
        version = job.version
        raise Corrupt(
            said,
            hint=f"bring the files of {version.model}@{version.name} back into the registry {version.registry}, "
            "and run this again; or release another version",
        ) from error
    if built.digest != image.digest:
        raise Corrupt(
            f"{job.target}: built again the image of {job.manifest} is sha256:{built.digest}, "
            f"sha256:{image.digest} was pushed",
            hint=f"the build settings have changed: syncd publish {job.version.model}@{job.version.name} pushes "
            "it as they are now",
        )


def _built_again(job: RepairJob, image: PlacedImage) -> BuiltImage:
    sources = sources_of(job)
    try:
        return _built(job, image, FailoverSource(tuple(sources.items())))
    except (Corrupt, NotFound, Unavailable):
        return _built(job, image, _ProvenSource(job, sources))


def _built(job: RepairJob, image: PlacedImage, source: Source) -> BuiltImage:
    target = job.world.images[job.target]
    stop = _Stop(job.stop)
    notes = SqlUploadJournal(job.world.state, target.repository)
    return target.bake(
        job.manifest, source, target.base(image.base_digest), notes, registry=job.version.registry, stop=stop
    )


class _ProvenSource:
    """Each file from a source that was read whole before and has the right bytes. Proven when it is needed."""

    def __init__(self, job: RepairJob, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._prove = partial(proven_source, sources=sources, settings=job.settings, stop=job.stop)
        self._lock = Lock()
        self._good: dict[str, str] = {}

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        with self._lock:
            name = self._good.get(entry.path) or self._prove(entry)
            self._good[entry.path] = name
        return self._sources[name](entry, offset_bytes)


class _Stop(Event):
    """Set when the process stops; a build that fails sets it for itself alone."""

    def __init__(self, outer: Event) -> None:
        super().__init__()
        self._outer = outer

    def is_set(self) -> bool:
        return super().is_set() or self._outer.is_set()
