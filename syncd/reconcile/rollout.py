"""Rollouts: the progress of a release through waves and shares, read for a decision, written after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from syncd.plan.phases import ReleasePhase, StepKind
from syncd.plan.release import Decision
from syncd.plan.strategy import AT_ONCE, Pause, RolloutState, Stage
from syncd.reconcile.context import Context
from syncd.state.records import Flip, Release
from syncd.state.releases import releases, rollouts, steps
from syncd.state.releases.rollouts import Canary, Rollout


def record_times(conn: Connection, release_id: str, now: datetime) -> None:
    """Where the clock was set back to before a pause began, begin the pause now: it lasts at most one pause longer."""
    rollout = rollouts.find(conn, release_id)
    if rollout is not None and rollout.pause is not None:
        pause = rollout.pause.by_clock(now)
        if pause != rollout.pause:
            rollouts.start_pause(conn, rollout, pause)
            steps.make_due(conn, release_id, StepKind.JUDGE, now)


def of(conn: Connection, context: Context, release: Release, moving: Sequence[Flip]) -> RolloutState:
    """The rollout state of a release now. A rollback has no stages: it moves everything at once."""
    if release.rollback:
        return RolloutState()
    rollout = rollouts.find(conn, release.id) or _planned(context, release)
    return state_of(rollout, moving, rollouts.canaries_of(conn, release.id), context.state.now(conn))


def state_of(rollout: Rollout, moving: Sequence[Flip], canaries: Mapping[str, Canary], now: datetime) -> RolloutState:
    """A rollout at one moment, as input of a decision."""
    strategy, pause, out = rollout.strategy, rollout.pause, rollout.out_since
    return RolloutState(
        strategy=strategy,
        regions=rollout.regions,
        stage=rollout.stage,
        paused=None if pause is None else pause.on(now),
        overdue=pause is not None and pause.overdue(now, strategy.deadline_s),
        shares={binding: canary.percent for binding, canary in canaries.items()},
        answers={binding: canary.good for binding, canary in canaries.items() if canary.stage == rollout.stage},
        unsplittable=frozenset(f.binding for f in moving if f.to_version and f.from_version in {None, f.to_version}),
        expired=out is not None and now > out + timedelta(seconds=strategy.deadline_s),
        expedited=rollout.hurried,
    )


def apply(conn: Connection, context: Context, release: Release, decision: Decision) -> bool:
    """Write the rollout part of a decision. Whether the input of the next decision has changed."""
    is_begun = decision.phase is ReleasePhase.FLIPPING and not release.rollback
    is_moved = decision.stage is not None or decision.pause_s is not None
    planned = _planned(context, release)
    if not (is_moved or decision.out or (is_begun and planned.strategy != AT_ONCE)):
        return False
    now = context.state.now(conn)
    rollout = rollouts.begin(conn, release.id, planned.strategy, planned.regions)
    if decision.out:
        rollout = rollouts.tolerate_region(conn, rollout, now)
    if decision.stage is not None:
        rollouts.enter(conn, rollout, decision.stage, now)
        if release.reason:  # the reason why it waited between two stages
            releases.note(conn, release.id, "", "", now)
    if decision.pause_s is not None:
        rollouts.start_pause(conn, rollout, Pause(now, now + timedelta(seconds=decision.pause_s)))
    return is_moved


def stage_of(rollout: Rollout, moving: Sequence[Flip]) -> Stage | None:
    """The stage that a rollout is in; None past the last one."""
    stages = stages_of(rollout, moving)
    return stages[rollout.stage] if rollout.stage < len(stages) else None


def _planned(context: Context, release: Release) -> Rollout:
    """The configured rollout of a release that has not begun to follow a strategy."""
    names = [binding.name for binding in context.topology.bindings_of(release.model)]
    regions = {name: context.topology.region_of(name) for name in names}
    return Rollout(release.id, context.strategies.for_model(release.model), regions)


def stages_of(rollout: Rollout, moving: Sequence[Flip]) -> tuple[Stage, ...]:
    """The stages of a rollout in their order."""
    waves = [rollout.strategy.wave_of(rollout.regions.get(flip.binding, "")) for flip in moving]
    return rollout.strategy.stages(waves)
