"""Rollout view: the stage that a release is in, its share, the end of its pause, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.plan.strategy import WHOLE_PERCENT, RolloutState, Stage
from syncd.reconcile.rollout import stage_of, stages_of, state_of
from syncd.reconcile.views.shapes.rollouts import RolloutDocument
from syncd.state.records import Flip, Release
from syncd.state.releases import rollouts
from syncd.state.releases.rollouts import Canary, Rollout


def rollout_of(conn: Connection, release: Release, moving: Sequence[Flip], now: datetime) -> RolloutDocument | None:
    """The rollout position of a release. None if it moves no aliases now, or has no stages."""
    return describe(conn, release.id, moving, now) if release.phase is ReleasePhase.FLIPPING else None


def describe(conn: Connection, release_id: str, moving: Sequence[Flip], now: datetime) -> RolloutDocument | None:
    """The position of a rollout: wave, share, end of the pause, what it waits for. None if there is no stage."""
    rollout = rollouts.find(conn, release_id)
    return None if rollout is None else describe_found(rollout, rollouts.canaries_of(conn, release_id), moving, now)


def describe_found(
    rollout: Rollout, canaries: Mapping[str, Canary], moving: Sequence[Flip], now: datetime
) -> RolloutDocument | None:
    """As `describe`, of a rollout that was read already."""
    stage = stage_of(rollout, moving)
    if stage is None:
        return None
    progress = state_of(rollout, moving, canaries, now)
    wave = [flip for flip in moving if progress.wave_of(flip.binding) == stage.wave]
    stages = stages_of(rollout, moving)
    return RolloutDocument(
        stage=rollout.stage + 1,
        stages=len(stages),
        wave=sorted({each.wave for each in stages}).index(stage.wave) + 1,
        waves=len({each.wave for each in stages}),
        regions=_regions(progress, wave),
        percent=stage.percent,
        until=rollout.pause.until if rollout.pause else None,
        out_since=rollout.out_since,
        good_answers=dict(sorted(progress.answers.items())),
        good_answers_wanted=progress.strategy.judge_samples,
        says=f"step {rollout.stage + 1} of {len(stages)}: {_words(rollout, progress, stage, wave)}",
    )


def _regions(progress: RolloutState, wave: Sequence[Flip]) -> list[str]:
    return sorted({progress.regions.get(flip.binding, "") for flip in wave})


def _words(rollout: Rollout, progress: RolloutState, stage: Stage, wave: Sequence[Flip]) -> str:
    share = "all" if stage.percent == WHOLE_PERCENT else f"{stage.percent} %"
    head = f"{share} in {', '.join(_regions(progress, wave))}"
    if rollout.pause is None:
        behind = [flip.binding for flip in wave if flip.phase not in _THERE]
        return f"{head}, being moved: {', '.join(behind)}" if behind else head
    wanted = progress.strategy.judge_samples
    found = [f"{f.binding} {progress.answers.get(f.binding, 0)}" for f in wave if f.phase in _THERE]
    return f"{head} until {rollout.pause.until:%Y-%m-%d %H:%M:%S} UTC; good answers of {wanted}: {', '.join(found)}"


_THERE: Final = frozenset({FlipPhase.WEIGHTED, FlipPhase.FLIPPED})
