"""Repair of a tree of files: what is missing or damaged is written again, and sealed.

The order: inspect; prove for each damaged file that some source has its bytes; only then remove what is damaged; copy;
seal. Where no source has the bytes, nothing is removed. Each step is repeatable: a repair that was killed is run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeVar

import structlog

from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, Corrupt, SyncdError, Unavailable
from syncd.reconcile.repair.sources import RepairJob, RepairResult, sources_of
from syncd.state.content.journal import SqlJournal
from syncd.targets.base import Depth, Inspection
from syncd.transfer import Destination, FailoverSource, Progress, Source, abandonable_call, copy, proven_source
from syncd.values.source import Stream

log = structlog.get_logger("syncd.repair")

T = TypeVar("T")


def repair_tree(job: RepairJob, depth: Depth) -> RepairResult:
    """Make a version at a target whole and sealed. Repeating it is harmless.

    Raises:
        Corrupt: No place has the bytes of a file. Nothing was removed.
        Unavailable: A place did not answer. A later call may succeed.
        Conflict: Another version is sealed there, in a directory of the same name.
        Refused: The target cannot be written.
        Cancelled: Stopped; the next call continues.
    """
    name, manifest = job.target, job.manifest
    target = job.world.targets[name]
    journal = SqlJournal(job.world.state, job.version.id, name)
    found: Inspection = _call(job, partial(target.examine, manifest, depth, journal), "inspecting the target")
    lacking = [entry for entry in manifest.entries if entry.path in found.missing or entry.path in found.wrong]
    if found.sealed and not lacking:
        return RepairResult()
    sources = sources_of(job) if lacking else {}
    good: Mapping[str, Source] = {}
    if lacking and (found.wrong or found.foreign_seal):
        good = _proven(job, lacking, sources)
    if found.foreign_seal:
        _call(job, partial(target.remove_foreign_seal, manifest), "removing a seal of another content")
    for path in sorted(found.wrong):
        _call(job, partial(target.remove_damaged, manifest, path, depth, journal), "removing a damaged file")
    if lacking:
        _fill(job, lacking, sources, good)
    _call(job, partial(target.seal, manifest, journal), "sealing")
    result = RepairResult(
        tuple(entry.path for entry in lacking),
        sum(entry.size_bytes for entry in lacking),
        seal=not found.sealed,
        sources=tuple(sources),
    )
    log.warning(
        "placement.repaired",
        message="Damaged bytes of a version were restored from a proven copy.",
        model=job.version.model,
        version=job.version.name,
        target=name,
        **result.document(),
    )
    return result


def _fill(job: RepairJob, lacking: Sequence[Entry], sources: Mapping[str, Source], good: Mapping[str, Source]) -> None:
    """Copy what is missing. Where a source turns out to be wrong, one is proven for each file and the copy repeated."""
    if good:
        _copy(job, _by_file(good))
        return
    if not sources:
        raise _without_source(job, "no other place has the version")
    try:
        _copy(job, FailoverSource(tuple(sources.items())))
    except _SourceFailed as failed:
        log.warning("repair.source_wrong", message="A source gave wrong bytes or none; each file's source is proven.",
                    target=job.target, error=str(failed))  # fmt: skip
        _copy(job, _by_file(_proven(job, lacking, sources)))


def _by_file(good: Mapping[str, Source]) -> Source:
    def read(entry: Entry, offset_bytes: int) -> Stream:
        return good[entry.path](entry, offset_bytes)

    return read


def _proven(job: RepairJob, lacking: Sequence[Entry], sources: Mapping[str, Source]) -> Mapping[str, Source]:
    """A source for each file, whose bytes were read and are right."""
    good: dict[str, Source] = {}
    for entry in lacking:
        try:
            call = partial(proven_source, entry, sources, job.settings, job.stop)
            good[entry.path] = sources[_call(job, call, f"proving a source of {entry.path}")]
        except Corrupt as error:
            raise _without_source(job, error.message) from error
        except Unavailable as error:
            raise Unavailable(_nothing_removed(job, error.message), hint=error.hint) from error
    return good


def _without_source(job: RepairJob, reason: str) -> Corrupt:
    version = job.version
    return Corrupt(
        _nothing_removed(job, reason),
        hint=f"bring the files of {version.model}@{version.name} back into the registry {version.registry}, "
        "and run this again; or release another version",
    )


def _nothing_removed(job: RepairJob, reason: str) -> str:
    return f"{job.target}: {job.manifest} cannot be repaired, nothing was removed: {reason[:1000]}"


def _copy(job: RepairJob, source: Source) -> None:
    target = job.world.targets[job.target]
    destination = Destination(target, SqlJournal(job.world.state, job.version.id, job.target))
    progress = Progress(job.manifest, [job.target])
    try:
        report = copy(job.manifest, source, [destination], job.settings, progress=progress, stop=job.stop)
    except Cancelled:
        raise
    except SyncdError as error:
        raise _SourceFailed(error.message, hint=error.hint) from error
    failed: SyncdError | None = next(iter(report.failed.values()), None)
    if failed is not None:
        raise failed


class _SourceFailed(Unavailable):
    """A copy ended because its source could not be read, or has other bytes than the manifest."""


def _call(job: RepairJob, fn: partial[T], what: str) -> T:
    return abandonable_call(job.target, fn, job.settings, job.stop, what=what)
