"""Rollouts: the state of a staged release that survives a restart, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.plan.phases import FlipPhase, StepKind, StepState
from syncd.plan.strategy import OnRegionUnavailable, Pause, Requirement, Share, Strategy
from syncd.state.releases import releases, rollouts, steps
from syncd.state.releases.events import advance
from syncd.state.serving import flips
from syncd.state.state import State

from tests.unit.state.making import NOON, after_s, go_live, make_release, make_step, make_version

EVERYTHING = Strategy(
    waves=(("hz",), ("sg", "us")),
    steps=(Share(10, 300.0), Share(50, 600.0)),
    bake_s=60.0,
    requirement=Requirement.QUORUM,
    quorum=2,
    region_out=OnRegionUnavailable.LEAVE,
    deadline_s=7.0,
    judge_samples=3,
    judge_failures_max=1,
)
REGIONS = {"a": "hz", "b": "sg"}


def test_a_release_keeps_the_strategy_it_began_with(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        assert rollouts.find(conn, release.id) is None
        began = rollouts.begin(conn, release.id, EVERYTHING, REGIONS)
        assert rollouts.begin(conn, release.id, Strategy(), {}) == began
    with state.read() as conn:
        assert rollouts.find(conn, release.id) == rollouts.Rollout(release.id, EVERYTHING, REGIONS)


def test_a_pause_is_written_with_its_end_and_a_new_stage_has_none(state: State) -> None:
    with state.write() as conn:
        rollout = rollouts.begin(conn, make_release(conn).id, EVERYTHING, REGIONS)
        pause = Pause(NOON, after_s(300))
        rested = rollouts.start_pause(conn, rollout, pause)
        assert rested == rollouts.find(conn, rollout.release_id) == replace(rollout, pause=pause)
        entered = rollouts.enter(conn, rested, 1, after_s(301))
        assert entered == rollouts.find(conn, rollout.release_id) == replace(rollout, stage=1)


def test_the_start_of_an_outage_is_kept_unless_the_clock_is_before_it(state: State) -> None:
    with state.write() as conn:
        rollout = rollouts.begin(conn, make_release(conn).id, EVERYTHING, REGIONS)
        out = rollouts.tolerate_region(conn, rollout, NOON)
        assert rollouts.tolerate_region(conn, out, after_s(9)).out_since == NOON
        assert rollouts.tolerate_region(conn, out, after_s(-9)).out_since == after_s(-9)


def test_answers_are_counted_by_stage_and_the_share_is_kept_beside_them(state: State) -> None:
    with state.write() as conn:
        rollout = rollouts.begin(conn, make_release(conn).id, EVERYTHING, REGIONS)
        rollouts.record_share(conn, rollout.release_id, "a", 10)
        for good in (True, False, True):
            canary = rollouts.record_analysis(conn, rollout, "a", good=good)
        assert (canary.percent, canary.good, canary.bad) == (10, 2, 1)
        later = rollouts.enter(conn, rollout, 1, NOON)
        rollouts.record_share(conn, rollout.release_id, "a", 50)
        canary = rollouts.record_analysis(conn, later, "a", good=True)
        assert (canary.percent, canary.stage, canary.good, canary.bad) == (50, 1, 1, 0)
        assert set(rollouts.canaries_of(conn, rollout.release_id)) == {"a"}


def test_expediting_is_recorded_and_succeeds_without_a_rollout(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        rollouts.expedite(conn, release.id)
        rollouts.begin(conn, release.id, EVERYTHING, REGIONS)
        rollouts.expedite(conn, release.id)
        found = rollouts.find(conn, release.id)
    assert found is not None
    assert found.hurried


def test_only_waiting_steps_of_the_kind_become_due(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        placed = make_step(conn, release=release)
        judging = steps.ensure(conn, release.id, StepKind.JUDGE, "a", "q", after_s(900))
        steps.make_due(conn, release.id, StepKind.JUDGE, NOON)
        assert steps.get(conn, judging.id).due_at == NOON
        assert steps.get(conn, placed.id) == placed
        queued = steps.hand_over(conn, steps.get(conn, judging.id), after_s(5))
        steps.make_due(conn, release.id, StepKind.JUDGE, NOON)
        assert steps.get(conn, judging.id) == queued
    assert queued.state is StepState.QUEUED


@pytest.mark.parametrize("let_go", [True, False])
def test_a_live_release_with_an_abandoned_binding_is_found(state: State, *, let_go: bool) -> None:
    with state.write() as conn:
        release = go_live(conn, "sdxl", make_version(conn))
        assert flips.claim(conn, release, ["a"], NOON) is None
        flip = flips.get(conn, release.id, "a")
        if let_go:
            advance(conn, flip, FlipPhase.ABANDONED, now=NOON)
        releases.note_left_behind(conn, release)
        assert [found.id for found in releases.live_with_abandoned(conn)] == ([release.id] if let_go else [])
