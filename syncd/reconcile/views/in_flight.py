"""Releases in flight, for `syncd status`: next tries, shares of traffic, and the progress of copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection

from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.strategy import WHOLE_PERCENT
from syncd.reconcile.views.rollout import describe_found
from syncd.reconcile.views.shapes.overview import CopyDocument, InFlightDocument, ShareDocument, WaitingStepDocument
from syncd.state.content import placements, versions
from syncd.state.records import Flip, Placement, Release, Step, Version
from syncd.state.releases import releases, rollouts, steps
from syncd.state.releases.rollouts import Canary, Rollout
from syncd.state.serving import flips
from syncd.state.state import State

_MOVING: Final = frozenset({ReleasePhase.FLIPPING, ReleasePhase.UNDOING})
_MOVED: Final = frozenset({FlipPhase.INTENDED, FlipPhase.FLIPPED, FlipPhase.DONE})
_SHARED: Final = frozenset({FlipPhase.WEIGHING, FlipPhase.WEIGHTED})

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class _Found:
    """What the record has of the unfinished releases, read in a fixed number of statements."""

    steps: Mapping[str, Sequence[Step]]
    flips: Mapping[str, Sequence[Flip]]
    before_undo: Mapping[str, Mapping[str, FlipPhase]]  # by binding
    rollouts: Mapping[str, Rollout]
    canaries: Mapping[str, Mapping[str, Canary]]
    versions: Mapping[str, Version]
    placements: Mapping[str, Sequence[Placement]]  # by version

    @classmethod
    def read(cls, conn: Connection, unfinished: Sequence[Release]) -> _Found:
        ids = [release.id for release in unfinished]
        placing = {r.version_id for r in unfinished if r.phase is ReleasePhase.PLACING and r.version_id is not None}
        return cls(
            steps=_grouped(steps.open_of(conn, ids), lambda step: step.release_id),
            flips=_grouped(flips.of_releases(conn, ids), lambda flip: flip.release_id),
            before_undo=flips.before_undo(conn, [r.id for r in unfinished if r.phase is ReleasePhase.UNDOING]),
            rollouts=rollouts.of(conn, ids),
            canaries=rollouts.canaries_among(conn, ids),
            versions=versions.of(conn, placing),
            placements=_grouped(placements.of_versions(conn, placing), lambda each: each.version_id),
        )


def _grouped(found: Sequence[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for each in found:
        grouped.setdefault(key(each), []).append(each)
    return grouped


def in_flight(conn: Connection, state: State, order: Mapping[str, int]) -> list[InFlightDocument]:
    """The unfinished releases of the models in `order`, in that order, oldest first.

    `next_try` is when the first of the waiting steps is tried again. `shares` are percents of each alias's traffic.
    The number of statements does not depend on how many releases there are.
    """
    unfinished = [release for release in releases.unfinished(conn) if release.model in order]
    if not unfinished:
        return []
    found, now = _Found.read(conn, unfinished), state.now(conn)
    return [_row(found, release, now) for release in sorted(unfinished, key=lambda r: (order[r.model], r.number))]


def _row(found: _Found, release: Release, now: datetime) -> InFlightDocument:
    open_steps, moving = found.steps.get(release.id, []), found.flips.get(release.id, [])
    canaries = found.canaries.get(release.id, {})
    waiting = [step for step in open_steps if step.state is StepState.WAITING]
    rollout = None
    if release.phase is ReleasePhase.FLIPPING and release.id in found.rollouts:
        rollout = describe_found(found.rollouts[release.id], canaries, moving, now)
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
        shares=_shares(release, moving, canaries, found.before_undo.get(release.id, {})),
        copies=_copies(found, release, open_steps),
    )


def _shares(
    release: Release, moving: Sequence[Flip], canaries: Mapping[str, Canary], before_undo: Mapping[str, FlipPhase]
) -> list[ShareDocument]:
    """The share of each alias that the release has or is about to have; none before it moves the first.

    An alias that is to go back keeps its share until it is back: its region may be unavailable for hours.
    """
    if release.phase not in _MOVING:
        return []
    found: list[ShareDocument] = []
    for flip in moving:
        canary = canaries.get(flip.binding)
        phase = before_undo.get(flip.binding, flip.phase) if flip.phase is FlipPhase.UNDOING else flip.phase
        percent = WHOLE_PERCENT if phase in _MOVED else 0
        if canary is not None and phase in _SHARED:
            percent = canary.percent
        found.append(ShareDocument(binding=flip.binding, phase=flip.phase, percent=percent))
    return found


def _copies(found: _Found, release: Release, open_steps: Sequence[Step]) -> list[CopyDocument]:
    """The copies under way."""
    if release.phase is not ReleasePhase.PLACING or release.version_id is None:
        return []
    total = found.versions[release.version_id].size_bytes
    since = [s.started_at for s in open_steps if s.kind is StepKind.PLACE and s.state is StepState.RUNNING]
    started = min((at for at in since if at is not None), default=None)
    placed = found.placements.get(release.version_id, [])
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
