"""Targets that nothing is sent to: the store replicates another target there, and syncd waits, proves and seals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NoReturn

from syncd.artifact.manifest import Manifest
from syncd.errors import Corrupt, Failed, NotYet, Unavailable
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.run import Job
from syncd.reconcile.sealing import note, refuse_going, seal
from syncd.state import placements, steps
from syncd.state.journal import SqlJournal
from syncd.state.records import Placement, Version
from syncd.target.base import Depth, Inspection

_PAUSE: Final = 1 / 8  # of what has been waited already: a look costs a listing, and being late by that costs little


def await_replica(job: Job, version: Version, manifest: Manifest, name: str) -> None:
    """One look at a replica: seal it if everything has come and is proven, or come back later.

    The seal that replication brings proves nothing: it may come before the files do. Each file's size and the
    store's CRC-64 of it have to be what was proven when the source was written.

    Raises:
        NotYet: Files are missing, and the deadline is not over.
        Failed: They are missing, and it is.
        Corrupt: A file is there with other bytes, or one that was there when it was sealed is not any more.
    """
    rooms = job.rooms
    refuse_going(job, version, name)
    with rooms.state.read() as conn:
        placement = placements.get(conn, version.id, name)
        source = placements.get(conn, version.id, rooms.fleet.replicas[name].source)
    if source.phase is not PlacementPhase.SEALED:
        raise Unavailable(f"{name} is replicated from {source.target}, where {manifest} is {source.phase}, not sealed")
    if placement.phase is not PlacementPhase.SEALED:
        note(job, version, name, PlacementPhase.COPYING)
    found = rooms.targets[name].inspect(manifest, Depth.SIZES, SqlJournal(rooms.state, version.id, name))
    if found.wrong or (found.missing and placement.phase is PlacementPhase.SEALED):
        raise Corrupt(f"{name}: {_faults(found)[:500]}", hint="`syncd verify` shows all of it; docs/recover.md")
    if found.missing:
        _wait(job, manifest, found, placement)
    seal(job, version, manifest, name)
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        steps.done(conn, job.step.id, job.step.attempt, rooms.state.now(conn), {"targets": [name]})


def _wait(job: Job, manifest: Manifest, found: Inspection, placement: Placement) -> NoReturn:
    rooms, name = job.rooms, placement.target
    replica = rooms.fleet.replicas[name]
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        now = rooms.state.now(conn)
        since = _since(job, placement) or now
        placements.note_progress(conn, placement.version_id, name, 0, _progress(job, manifest, found, since), now)
    waited = now - since
    what = f"{len(found.missing)} of {len(manifest.entries)} files of {manifest}"
    if waited >= timedelta(seconds=replica.deadline_s):
        raise Failed(
            f"{name}: after {round(waited.total_seconds())} s replication from {replica.source} has not brought "
            f"{what}, such as {min(found.missing)}",
            hint=f"look at the replication rule of the bucket of {replica.source}, or raise replication_deadline_s",
        )
    pause_s = max(rooms.patience.base_s, min(rooms.patience.cap_s, waited.total_seconds() * _PAUSE))
    message = f"{name}: waiting for {what} to be replicated from {replica.source}"
    raise NotYet(message, hint="nothing is sent to it: its bucket is filled by replication", retry_after_s=pause_s)


def _since(job: Job, placement: Placement) -> datetime | None:
    """When this release began to wait. A later release begins anew: somebody may have mended the rule."""
    seen = placement.progress
    return datetime.fromisoformat(str(seen["since"])) if seen.get("release") == job.release.id else None


def _progress(job: Job, manifest: Manifest, found: Inspection, since: datetime) -> Mapping[str, object]:
    return {
        "bytes_total": manifest.size_bytes,
        "bytes_kept": sum(entry.size_bytes for entry in manifest.entries if entry.path in found.present),
        "files_total": len(manifest.entries),
        "files_finished": len(found.present),
        "release": job.release.id,
        "since": since.isoformat(),
    }


def _faults(found: Inspection) -> str:
    faults = [f"{path}: missing" for path in sorted(found.missing)]
    return "; ".join(faults + [f"{path}: {wrong}" for path, wrong in sorted(found.wrong.items())])
