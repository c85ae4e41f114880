"""What the record says of a copy: begun, sealed. Every write is fenced by the step's attempt."""

from __future__ import annotations

import time

import structlog

from syncd.artifact.manifest import Manifest
from syncd.errors import Unavailable
from syncd.plan.phases import PlacementPhase, may_transition
from syncd.reconcile.context import Attempt
from syncd.state.content import placements
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Version
from syncd.state.releases.events import advance

log = structlog.get_logger("syncd.place")


def check_not_withdrawn(job: Attempt, version: Version, name: str) -> None:
    """Raises Unavailable: an older copy is being cleared away there."""
    with job.context.state.read() as conn:
        placement = placements.get(conn, version.id, name)
    if placement.phase is PlacementPhase.WITHDRAWING:
        raise Unavailable(f"{name}: an older copy of {version.model}@{version.name} is being cleared away first")


def seal(job: Attempt, version: Version, manifest: Manifest, name: str) -> None:
    """Seal and record. Called as soon as a target is whole, from threads of the copy, and fenced as all of it is."""
    started = time.monotonic()
    job.context.targets[name].seal(manifest, SqlJournal(job.context.state, version.id, name))
    record_partial(job, version, name, PlacementPhase.SEALED)
    log.info(
        "placement.sealed",
        message="The version is complete and sealed at the target.",
        target=name,
        region=job.context.topology.regions[name],
        digest=manifest.digest.hex,
        bytes=manifest.size_bytes,
        seconds=round(time.monotonic() - started, 3),
    )


def record_partial(job: Attempt, version: Version, name: str, phase: PlacementPhase) -> None:
    """Record the placement's phase, if it is another. What was sealed and is to be copied was wanted in between."""
    with job.context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = job.context.state.now(conn)
        placement = placements.get(conn, version.id, name)
        if (
            phase is PlacementPhase.COPYING
            and not may_transition(placement.phase, phase)
            and placement.phase is not phase
        ):
            gone = "it was sealed here once and is not any more"
            placement = advance(conn, placement, PlacementPhase.WANTED, now=now, reason=gone, step=job.step)
        if placement.phase is not phase:
            advance(conn, placement, phase, now=now, step=job.step)
