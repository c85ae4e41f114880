"""The bodies that bring bytes: `resolve` pins a version, `place` copies, proves and seals it at its targets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.artifact.manifest import Manifest
from syncd.artifact.names import FilePath, parse_model, parse_version
from syncd.errors import Cancelled, Corrupt, Fenced, Invalid, KeyRefused, NotFound, Refused, SyncdError, Unavailable
from syncd.plan.phases import PlacementPhase
from syncd.plan.topology import NEAREST, REGISTRY
from syncd.reconcile.context import Attempt
from syncd.reconcile.discovery.catalog import Catalog, check_by_reading, pin, survey
from syncd.reconcile.members import members
from syncd.reconcile.repair.sources import RepairJob
from syncd.reconcile.repair.tree import repair_tree
from syncd.reconcile.steps.checked_source import CheckedSource
from syncd.reconcile.steps.images import place_image
from syncd.reconcile.steps.placement_record import check_not_withdrawn, record_partial, seal
from syncd.reconcile.steps.replicas import await_image, await_replica
from syncd.reconcile.trust import evaluation
from syncd.reconcile.trust.evidence import gather
from syncd.registry.base import RevisionSource
from syncd.state.content import placements, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Version
from syncd.state.releases import events, releases, steps
from syncd.targets.base import Depth
from syncd.transfer import (
    Destination,
    FailoverSource,
    Progress,
    ProgressSnapshot,
    Source,
    abandonable_call,
    copy,
    nearest_first,
)
from syncd.trust.policy import Outcome, TrustEvidence
from syncd.values.source import Location, Revision

log = structlog.get_logger("syncd.place")
FILES_SHOWN_MAX: Final = 8
_UNCHECKED: Final = "unchecked"  # in the detail of the event: files that `place` is to check as their bytes pass
_ALL: Final = "*"
_UNCHECKED_MAX: Final = 200  # are named in an event
_WARNINGS_MAX: Final = 10
_LISTING_S: Final = 600.0  # a registry that lists a hundred thousand files may be silent for long


def resolve(job: Attempt) -> None:
    """Pin the release's version: the registry is asked, what it shows is hashed, the manifest is recorded."""
    context, release = job.context, job.release
    started = time.monotonic()
    revision, found, evidence = abandonable_call(
        release.registry,
        lambda: _cataloged(job),
        context.transfer,
        job.stop,
        what="listing a version",
        patience_s=_LISTING_S,
    )
    manifest = found.manifest
    for warning in found.warnings:
        log.warning("files.ambiguous", version=revision.version, warning=warning)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = context.state.now(conn)
        version = versions.record(conn, manifest, release.registry, revision.pin, now)
        if version.pin != revision.pin:
            versions.repin(conn, version, revision.pin)  # the same bytes, newly written: `place` reads by the pin
        releases.pin(conn, release, version.id, now)
        detail: dict[str, object] = {"digest": manifest.digest.hex, "bytes": manifest.size_bytes}
        if found.warnings:
            detail["warnings"] = list(found.warnings)[:_WARNINGS_MAX]
        if found.unchecked:
            detail[_UNCHECKED] = list(found.unchecked) if len(found.unchecked) <= _UNCHECKED_MAX else [_ALL]
        refusal = _evaluated(conn, job, version, evidence, now)
        if refusal is None:
            steps.done(conn, job.step.id, job.step.attempt, now, detail)
    if refusal is not None:  # behind the transaction: the verdict is in the record, and nothing has moved
        raise refusal
    log.info(
        "version.pinned",
        message="The release's version is pinned and its manifest recorded.",
        digest=manifest.digest.hex,
        bytes=manifest.size_bytes,
        files=len(manifest.entries),
        seconds=round(time.monotonic() - started, 3),
    )


def _evaluated(
    conn: Connection, job: Attempt, version: Version, evidence: TrustEvidence | None, now: datetime
) -> Invalid | None:
    """Record the verdict of the trust policy, where it is on. Gives the refusal."""
    rule = job.context.trust.for_model(version.model)
    if rule is None or evidence is None:
        return None
    outcome, found = evaluation.decide(conn, rule, version, evidence, job.release.id, now)
    if found:
        log.warning(
            "trust.unmet",
            message="The version does not meet the trust policy.",
            outcome=outcome.value,
            findings=[str(each) for each in found[:_WARNINGS_MAX]],
            count=len(found),
        )
    return evaluation.refusal(version.model, version.name, found) if outcome is Outcome.REFUSED else None


def _cataloged(job: Attempt) -> tuple[Revision, Catalog, TrustEvidence | None]:
    registry, model = job.context.registries[job.release.registry], parse_model(job.release.model)
    revision = pin(job.context.state, registry, model, job.release.ref)
    job.pin = revision.pin
    with job.context.state.read() as conn:
        known = versions.find(conn, model, revision.version)
        placed = placements.of_version(conn, known.id) if known is not None and known.pin == revision.pin else []
    is_accepted = any(each.phase is PlacementPhase.SEALED for each in placed)
    found = survey(registry, model, revision, job.stop, is_accepted=is_accepted)
    rule = job.context.trust.for_model(model)
    if rule is None:
        return revision, found, None
    return revision, found, gather(registry, job.release.registry, (model, revision), found.manifest, rule, job.stop)


def place(job: Attempt) -> None:
    """Bring the version to every target of this step's group, with one reading of the source."""
    context = job.context
    with context.state.read() as conn:
        version = versions.get(conn, job.release.version_id or "")
        manifest = versions.manifest(conn, version.id)
    job.pin = version.pin
    names = members(context, job.release, job.step.subject)
    if names[0] in context.topology.replicas:
        wait = await_image if names[0] in context.topology.images else await_replica
        wait(job, version, manifest, names[0])
        return
    if names[0] in context.topology.images:
        place_image(job, version, manifest, names[0], partial(_sources_of_layers, job, version, manifest))
        return
    failed: dict[str, SyncdError] = {}
    lacking = [name for name in names if not _already_sealed(job, version, manifest, name, failed)]
    if lacking:
        peers = [name for name in names if name not in lacking and name not in failed]
        try:
            failed |= _copy(job, version, manifest, lacking, peers)
        except Corrupt:  # no source as a whole has the bytes; a peer that was found whole may have each of them
            if not peers:
                raise
            failed |= _repaired_from_peers(job, version, manifest, lacking)
    for name in [name for name in names if name not in failed and not _is_recorded(job, version, name)]:
        try:
            abandonable_call(
                name, partial(seal, job, version, manifest, name), context.transfer, job.stop, what="sealing"
            )
        except Fenced:
            raise
        except SyncdError as error:
            failed[name] = error
    if failed:
        raise _worst(failed)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        steps.done(conn, job.step.id, job.step.attempt, context.state.now(conn), {"targets": list(names)})


def _already_sealed(
    job: Attempt, version: Version, manifest: Manifest, name: str, failed: dict[str, SyncdError]
) -> bool:
    """Whether nothing has to be copied to this target: it is sealed and whole, or cannot be checked now.

    A sealed version that is damaged is repaired here, from any place that has it.
    """
    context = job.context
    try:
        check_not_withdrawn(job, version, name)
        target, journal = context.targets[name], SqlJournal(context.state, version.id, name)
        call = partial(target.examine, manifest, Depth.CHECKSUMS, journal)
        found = abandonable_call(name, call, context.transfer, job.stop, what="inspecting the target")
        is_ours = _is_recorded(job, version, name)
        if (found.sealed and not found.whole) or (found.foreign_seal and is_ours):
            repair_tree(RepairJob(context, context.transfer, version, manifest, name, job.stop), Depth.CHECKSUMS)
            return True
        if found.foreign_seal:
            target.inspect(manifest, Depth.SEAL, journal)  # raises: it was never ours, so a person decides
    except SyncdError as error:
        failed[name] = error
        return True
    if not found.sealed:
        record_partial(job, version, name, PlacementPhase.COPYING)
    return found.sealed


def _repaired_from_peers(
    job: Attempt, version: Version, manifest: Manifest, names: list[str]
) -> Mapping[str, SyncdError]:
    failed: dict[str, SyncdError] = {}
    for name in names:
        try:
            repair_tree(
                RepairJob(job.context, job.context.transfer, version, manifest, name, job.stop), Depth.CHECKSUMS
            )
        except SyncdError as error:
            failed[name] = error
    return failed


def _is_recorded(job: Attempt, version: Version, name: str) -> bool:
    """Whether the record says that it is sealed. Where a crash came before that, sealing again clears what it left."""
    with job.context.state.read() as conn:
        return placements.get(conn, version.id, name).phase is PlacementPhase.SEALED


def _copy(
    job: Attempt, version: Version, manifest: Manifest, names: list[str], peers: list[str]
) -> Mapping[str, SyncdError]:
    """`peers` have been found sealed and whole: they may be read from, as far as `transfer.sources` says so."""
    sources = _sources(job, version, manifest, peers)
    log.info("sources.chosen", message="The bytes are read from these sources, in this order.", sources=list(sources))
    unchecked = _unchecked(job, manifest)
    try:
        return _record_copy(
            job, version, manifest, names, CheckedSource(FailoverSource(tuple(sources.items())), manifest, unchecked)
        )
    except Corrupt as error:
        registry = sources.get(REGISTRY)
        if registry is None or len(sources) == 1:
            raise
        log.warning(
            "source.corrupt",
            message="A target gave wrong bytes; they are read again from the registry alone.",
            error=error.message,
        )
        return _record_copy(job, version, manifest, names, CheckedSource(registry, manifest, unchecked))


def _unchecked(job: Attempt, manifest: Manifest) -> frozenset[str]:
    """The files that were not checked when the version was pinned for this release."""
    with job.context.state.read() as conn:
        details = [event.detail.get(_UNCHECKED) for event in events.of_release(conn, job.release.id)]
    named = {str(path) for each in details if isinstance(each, list) for path in each}
    return frozenset(entry.path for entry in manifest.entries) if _ALL in named else frozenset(named)


def _sources_of_layers(job: Attempt, version: Version, manifest: Manifest) -> dict[str, Source]:
    """As `_sources`. What is packed into layers is not read in order: files that are unchecked are read once before."""
    unchecked = _unchecked(job, manifest)
    paths = {entry.path for entry in manifest.entries}
    pinned = parse_model(version.model), Revision(parse_version(version.name), version.pin)
    for entry in manifest.entries:
        if entry.path in unchecked:
            check_by_reading(job.context.registries[version.registry], pinned, entry, paths, job.stop)
    return _sources(job, version, manifest, [])


def _sources(job: Attempt, version: Version, manifest: Manifest, peers: list[str]) -> dict[str, Source]:
    """Where the bytes can be read, in the configured order. A registry that comes after a target is not asked yet."""
    context = job.context
    registry = context.registries[version.registry]
    model = parse_model(version.model)
    revision = Revision(parse_version(version.name), version.pin)
    group = members(context, job.release, job.step.subject)
    with context.state.read() as conn:  # what another step places is believed: each byte is proven as it is read
        sealed = {p.target for p in placements.of_version(conn, version.id) if p.phase is PlacementPhase.SEALED}
    givers = {*peers, *(sealed & context.targets.keys() - set(group)), REGISTRY}
    found: dict[str, Source] = {name: partial(context.targets[name].open, manifest) for name in givers - {REGISTRY}}
    found[REGISTRY] = RevisionSource(registry, model, revision)
    usable = _by_preference(job, manifest, found)
    if usable[0] == REGISTRY:
        try:
            # raises Conflict where the source is not what was pinned
            call = partial(registry.listing, model, revision)
            abandonable_call(
                version.registry, call, context.transfer, job.stop, what="listing a version", patience_s=_LISTING_S
            )
        except (NotFound, Refused, Unavailable) as error:
            if len(usable) == 1:
                raise
            log.warning(
                "source.unreachable",
                message="The registry cannot be read; the bytes are read from a target.",
                error=error.message,
            )
            del usable[0]
    return {name: found[name] for name in usable}


def _by_preference(job: Attempt, manifest: Manifest, found: Mapping[str, Source]) -> list[str]:
    """Those of the sources that the configuration wants, in its order."""
    wanted = job.context.topology.sources
    ranked: tuple[str, ...] = ()
    if NEAREST in wanted:
        others = {name: source for name, source in found.items() if name not in wanted}
        largest = max(manifest.entries, key=lambda entry: entry.size_bytes)
        ranked = nearest_first(largest, others, job.context.transfer, job.stop)
    expanded = [each for name in wanted for each in (ranked if name == NEAREST else (name,))]
    return [name for name in expanded if name in found]


def _record_copy(
    job: Attempt, version: Version, manifest: Manifest, names: list[str], source: Source
) -> Mapping[str, SyncdError]:
    context = job.context
    bound = structlog.contextvars.get_contextvars()

    def sealed(name: str) -> None:
        with structlog.contextvars.bound_contextvars(**bound):
            seal(job, version, manifest, name)

    destinations = [
        Destination(
            context.targets[name],
            SqlJournal(context.state, version.id, name),
            partial(sealed, name),
            partial(_nearby_copies, job, version, context.topology.regions[name]),
        )
        for name in names
    ]
    progress = Progress(manifest, names)

    def tell() -> None:
        with context.state.write() as conn:
            now = context.state.now(conn)
            for name, seen in progress.glance().items():
                placements.note_progress(
                    conn, version.id, name, seen.counters["bytes_sent"], _progress_shown(seen), now
                )

    job.on_beat.append(tell)
    started = time.monotonic()
    try:
        report = copy(manifest, source, destinations, context.transfer, progress=progress, stop=job.stop)
    except Unavailable as error:
        error.progressed = any(seen.has_lasting(context.transfer.part_bytes) for seen in progress.snapshot().values())
        raise
    finally:
        job.on_beat.remove(tell)
    for name, failure in report.failed.items():
        if isinstance(failure, Unavailable) and not failure.progressed:
            failure.progressed = report.targets[name].has_lasting(context.transfer.part_bytes)
    tell()
    took = round(time.monotonic() - started, 3)
    for name, seen in progress.glance().items():
        if name not in report.failed:
            sent = seen.counters["bytes_sent"]
            log.info(
                "placement.copied",
                message="The version's files are at the target.",
                target=name,
                region=context.topology.regions[name],
                seconds=took,
                bytes=sent,
                **seen.counters,
            )
    return report.failed


def _nearby_copies(job: Attempt, version: Version, region: str, path: FilePath) -> Location | None:
    """Location of a file's bytes in the registry's bucket, if it is in this region: copies never cross regions."""
    registry = job.context.registries[version.registry]
    revision = Revision(parse_version(version.name), version.pin)
    found = registry.location_of(parse_model(version.model), revision, path)
    return found if found is not None and found.region == region else None


def _progress_shown(seen: ProgressSnapshot) -> dict[str, object]:
    """The counters, and a few of the files in progress, for readers of the record."""
    return {**seen.counters, "files": [list(file) for file in seen.going[:FILES_SHOWN_MAX]]}


def _worst(failed: Mapping[str, SyncdError]) -> SyncdError:
    """One error for the step: the one that most needs a person, naming every target that failed."""
    if fenced := next((error for error in failed.values() if isinstance(error, Fenced)), None):
        return fenced
    if any(isinstance(error, Cancelled) for error in failed.values()):
        return Cancelled("stopped while copying")
    ordered = sorted(
        failed.items(), key=lambda item: (isinstance(item[1], Unavailable), not isinstance(item[1], KeyRefused))
    )
    first = ordered[0][1]
    message = "; ".join(f"{name}: {error.message}" for name, error in ordered)
    if isinstance(first, Unavailable):
        worst = Unavailable(message, hint=first.hint, retry_after_s=first.retry_after_s)
        worst.progressed = any(isinstance(error, Unavailable) and error.progressed for error in failed.values())
        return worst
    if isinstance(first, KeyRefused):
        refused = KeyRefused(message, hint=first.hint)
        refused.key = first.key
        return refused
    return type(first)(message, hint=first.hint)
