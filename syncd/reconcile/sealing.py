"""What the record says of a copy: begun, sealed. Every write is fenced by the step's attempt."""

from __future__ import annotations

import time

import structlog

from syncd.artifact.manifest import Manifest
from syncd.errors import Unavailable
from syncd.plan.phases import PlacementPhase, may_follow
from syncd.reconcile.run import Job
from syncd.state import placements
from syncd.state.advance import advance
from syncd.state.journal import SqlJournal
from syncd.state.records import Version

log = structlog.get_logger("syncd.place")


def refuse_going(job: Job, version: Version, name: str) -> None:
    """Raises Unavailable: an older copy is being cleared away there."""
    with job.rooms.state.read() as conn:
        placement = placements.get(conn, version.id, name)
    if placement.phase is PlacementPhase.WITHDRAWING:
        raise Unavailable(f"{name}: an older copy of {version.model}@{version.name} is being cleared away first")


def seal(job: Job, version: Version, manifest: Manifest, name: str) -> None:
    """Seal and record. Called as soon as a target is whole, from threads of the copy, and fenced as all of it is."""
    started = time.monotonic()
    job.rooms.targets[name].seal(manifest, SqlJournal(job.rooms.state, version.id, name))
    note(job, version, name, PlacementPhase.SEALED)
    log.info("sealed", target=name, region=job.rooms.fleet.regions[name], digest=manifest.digest.hex,
             bytes=manifest.size_bytes, seconds=round(time.monotonic() - started, 3))  # fmt: skip


def note(job: Job, version: Version, name: str, phase: PlacementPhase) -> None:
    """Record the placement's phase, if it is another. What was sealed and is to be copied was wanted in between."""
    with job.rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        now = job.rooms.state.now(conn)
        placement = placements.get(conn, version.id, name)
        if phase is PlacementPhase.COPYING and not may_follow(placement.phase, phase) and placement.phase is not phase:
            gone = "it was sealed here once and is not any more"
            placement = advance(conn, placement, PlacementPhase.WANTED, now=now, reason=gone, step=job.step)
        if placement.phase is not phase:
            advance(conn, placement, phase, now=now, step=job.step)
