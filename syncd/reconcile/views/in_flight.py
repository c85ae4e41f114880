"""Releases in flight, for `syncd status`: next tries, shares of traffic, and the progress of copies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.strategy import WHOLE_PERCENT
from syncd.reconcile.views.rollout import rollout_of
from syncd.reconcile.views.shapes.overview import CopyDocument, InFlightDocument, ShareDocument, WaitingStepDocument
from syncd.state.content import placements, versions
from syncd.state.records import Flip, Placement, Release, Step
from syncd.state.releases import releases, rollouts, steps
from syncd.state.serving import flips
from syncd.state.state import State

_MOVING: Final = frozenset({ReleasePhase.FLIPPING, ReleasePhase.UNDOING})
_MOVED: Final = frozenset({FlipPhase.FLIPPED, FlipPhase.DONE})
_SHARED: Final = frozenset({FlipPhase.WEIGHING, FlipPhase.WEIGHTED, FlipPhase.INTENDED})


def in_flight(conn: Connection, state: State, model: str) -> list[InFlightDocument]:
    """The unfinished releases of a model, oldest first.

    `next_try` is when the first of the waiting steps is tried again. `shares` are percents of each alias's traffic.
    """
    return [_row(conn, release, state.now(conn)) for release in releases.unfinished(conn, model)]


def _row(conn: Connection, release: Release, now: datetime) -> InFlightDocument:
    all_steps = steps.of_release(conn, release.id)
    waiting = [s for s in all_steps if s.state is StepState.WAITING and s.reason]
    moving = flips.of_release(conn, release.id)
    rollout = rollout_of(conn, release, moving, now)
    reasons = [f"{s.kind} {s.subject}: {s.reason}{f' (tried {s.failures}×)' if s.failures else ''}" for s in waiting]
    return InFlightDocument(
        release=release.id,
        model=release.model,
        version=release.ref,
        rollback=release.rollback,
        phase=release.phase,
        since=release.updated_at,
        rollout=rollout,
        reason="; ".join(filter(None, [rollout.says if rollout else "", release.reason, *reasons])),
        hint=next((s.hint for s in waiting if s.hint), release.hint),
        next_try=min((step.due_at for step in waiting), default=None),
        waiting=[
            WaitingStepDocument(step=s.kind, subject=s.subject, failures=s.failures, due_at=s.due_at, reason=s.reason)
            for s in waiting
        ],
        shares=_shares(conn, release, moving),
        copies=_copies(conn, release, all_steps),
    )


def _shares(conn: Connection, release: Release, moving: Sequence[Flip]) -> list[ShareDocument]:
    """The share of each alias that the release has or is about to have; none before it moves the first."""
    if release.phase not in _MOVING:
        return []
    canaries = rollouts.canaries_of(conn, release.id)
    found: list[ShareDocument] = []
    for flip in moving:
        canary = canaries.get(flip.binding)
        percent = WHOLE_PERCENT if flip.phase in _MOVED else 0
        if canary is not None and flip.phase in _SHARED:
            percent = canary.percent
        found.append(ShareDocument(binding=flip.binding, phase=flip.phase, percent=percent))
    return found


def _copies(conn: Connection, release: Release, all_steps: Sequence[Step]) -> list[CopyDocument]:
    """The copies under way."""
    if release.phase is not ReleasePhase.PLACING or release.version_id is None:
        return []
    total = versions.get(conn, release.version_id).size_bytes
    since = [s.started_at for s in all_steps if s.kind is StepKind.PLACE and s.state is StepState.RUNNING]
    started = min((at for at in since if at is not None), default=None)
    placed = placements.of_version(conn, release.version_id)
    return [_copy(each, total, started) for each in placed if each.phase is PlacementPhase.COPYING]


def _copy(placement: Placement, total: int, started: datetime | None) -> CopyDocument:
    moved = _sum(placement, "bytes_sent", "bytes_copied")
    seconds = (placement.updated_at - started).total_seconds() if started is not None else 0.0
    rate = moved / seconds if seconds > 0 else 0.0
    done = moved + _sum(placement, "bytes_kept")
    return CopyDocument(
        target=placement.target,
        bytes_done=done,
        bytes_total=total,
        bytes_per_s=round(rate),
        eta_s=round(max(0, total - done) / rate, 1) if rate else None,
    )


def _sum(placement: Placement, *counters: str) -> int:
    return sum(int(str(placement.progress.get(key, 0))) for key in counters)
