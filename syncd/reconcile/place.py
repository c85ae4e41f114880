"""The bodies that bring bytes: `resolve` pins a version, `place` copies, proves and seals it at its targets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from syncd.artifact.manifest import Manifest
from syncd.artifact.names import parse_model, parse_version
from syncd.errors import Cancelled, Corrupt, Fenced, SyncdError, Unavailable
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.catalog import catalog
from syncd.reconcile.replicas import await_replica
from syncd.reconcile.run import Job
from syncd.reconcile.sealing import note, refuse_going, seal
from syncd.registry.base import Revision
from syncd.state import placements, releases, steps, versions
from syncd.state.journal import SqlJournal
from syncd.state.records import Version
from syncd.target.base import Depth
from syncd.transfer import Destination, Glance, Progress, copy

log = structlog.get_logger("syncd.place")
FILES_SHOWN_MAX: Final = 8


def resolve(job: Job) -> None:
    """Pin the release's version: the registry is asked, what it shows is hashed, the manifest is recorded."""
    rooms, release = job.rooms, job.release
    registry = rooms.registries[release.registry]
    started = time.monotonic()
    revision, manifest = catalog(registry, parse_model(release.model), release.ref, job.stop)
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        now = rooms.state.now(conn)
        version = versions.record(conn, manifest, release.registry, revision.pin, now)
        if version.pin != revision.pin:
            versions.repin(conn, version, revision.pin)  # the same bytes, newly written: `place` reads by the pin
        releases.pin(conn, release, version.id, now)
        detail = {"digest": manifest.digest.hex, "bytes": manifest.size_bytes}
        steps.done(conn, job.step.id, job.step.attempt, now, detail)
    log.info("version pinned", digest=manifest.digest.hex, bytes=manifest.size_bytes, files=len(manifest.entries),
             seconds=round(time.monotonic() - started, 3))  # fmt: skip


def place(job: Job) -> None:
    """Bring the version to every target of this step's group, with one reading of the source."""
    rooms = job.rooms
    with rooms.state.read() as conn:
        version = versions.get(conn, job.release.version_id or "")
        manifest = versions.manifest(conn, version.id)
    names = rooms.fleet.groups_of(job.release.model)[job.step.subject]
    if names[0] in rooms.fleet.replicas:
        await_replica(job, version, manifest, names[0])
        return
    failed: dict[str, SyncdError] = {}
    lacking = [name for name in names if not _there(job, version, manifest, name, failed)]
    if lacking:
        failed |= _copy(job, version, manifest, lacking)
    for name in [name for name in names if name not in failed and not _is_recorded(job, version, name)]:
        try:
            seal(job, version, manifest, name)
        except Fenced:
            raise
        except SyncdError as error:
            failed[name] = error
    if failed:
        raise _worst(failed)
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        steps.done(conn, job.step.id, job.step.attempt, rooms.state.now(conn), {"targets": list(names)})


def _there(job: Job, version: Version, manifest: Manifest, name: str, failed: dict[str, SyncdError]) -> bool:
    """Whether nothing has to be copied to this target: it is sealed and whole, or cannot be looked at now."""
    rooms = job.rooms
    try:
        refuse_going(job, version, name)
        found = rooms.targets[name].inspect(manifest, Depth.CHECKSUMS, SqlJournal(rooms.state, version.id, name))
    except SyncdError as error:
        failed[name] = error
        return True
    if found.sealed and not found.whole:
        broken = "; ".join(
            [f"{p}: missing" for p in sorted(found.missing)] + [f"{p}: {w}" for p, w in found.wrong.items()]
        )
        failed[name] = Corrupt(f"{name} is sealed but not whole: {broken[:500]}", hint="`syncd verify` shows all of it")
        return True
    if not found.sealed:
        note(job, version, name, PlacementPhase.COPYING)
    return found.sealed


def _is_recorded(job: Job, version: Version, name: str) -> bool:
    """Whether the record says that it is sealed. Where a crash came before that, sealing again clears what it left."""
    with job.rooms.state.read() as conn:
        return placements.get(conn, version.id, name).phase is PlacementPhase.SEALED


def _copy(job: Job, version: Version, manifest: Manifest, names: list[str]) -> Mapping[str, SyncdError]:
    rooms = job.rooms
    registry = rooms.registries[version.registry]
    model = parse_model(version.model)
    revision = Revision(parse_version(version.name), version.pin)
    registry.listing(model, revision)  # raises Conflict where the source is not what was pinned
    bound = structlog.contextvars.get_contextvars()

    def sealed(name: str) -> None:
        with structlog.contextvars.bound_contextvars(**bound):
            seal(job, version, manifest, name)

    destinations = [
        Destination(rooms.targets[name], SqlJournal(rooms.state, version.id, name), partial(sealed, name))
        for name in names
    ]
    progress = Progress(manifest, names)

    def tell() -> None:
        with rooms.state.write() as conn:
            now = rooms.state.now(conn)
            for name, seen in progress.glance().items():
                placements.note_progress(conn, version.id, name, seen.counters["bytes_sent"], _shown(seen), now)

    job.on_beat.append(tell)
    started = time.monotonic()
    report = copy(
        manifest,
        lambda entry, offset_bytes: registry.open(model, revision, entry.path, offset_bytes),
        destinations,
        rooms.transfer,
        progress=progress,
        stop=job.stop,
    )
    tell()
    took = round(time.monotonic() - started, 3)
    for name, seen in progress.glance().items():
        if name not in report.failed:
            sent = seen.counters["bytes_sent"]
            log.info("copied", target=name, region=rooms.fleet.regions[name], seconds=took, bytes=sent, **seen.counters)
    return report.failed


def _shown(seen: Glance) -> dict[str, object]:
    """The counters, and a few of the files that are under way, for those who look at the record."""
    return {**seen.counters, "files": [list(file) for file in seen.going[:FILES_SHOWN_MAX]]}


def _worst(failed: Mapping[str, SyncdError]) -> SyncdError:
    """One error for the step: the one that most needs a person, naming every target that failed."""
    if fenced := next((error for error in failed.values() if isinstance(error, Fenced)), None):
        return fenced
    if any(isinstance(error, Cancelled) for error in failed.values()):
        return Cancelled("stopped while copying")
    ordered = sorted(failed.items(), key=lambda item: isinstance(item[1], Unavailable))
    first = ordered[0][1]
    message = "; ".join(f"{name}: {error.message}" for name, error in ordered)
    if isinstance(first, Unavailable):
        return Unavailable(message, hint=first.hint, retry_after_s=first.retry_after_s)
    return type(first)(message, hint=first.hint)
