"""A release in waves and shares, by the record and the aliases: pauses, analyses, and every way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from syncd.errors import Unavailable
from syncd.plan.phases import FlipPhase, ReleasePhase, StepState
from syncd.plan.strategy import OnRegionUnavailable, Requirement, Share, Strategies, Strategy
from syncd.reconcile.requests.operations import cancel, freeze, publish, unfreeze
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.plans.plan import StepPlan, plan
from syncd.reconcile.views.release import document, load
from syncd.reconcile.views.rollout import describe
from syncd.reconcile.views.verification import verify
from syncd.runtime.base import Waiting, ignore_waits
from syncd.runtime.memory import MemoryRuntime
from syncd.signals.base import Evidence, Subject, Verdict
from syncd.state.records import Release
from syncd.state.releases import rollouts
from syncd.targets.base import Depth
from syncd.values.function import AliasState, Change, Probe, ProbeReport, Staged

from tests.support.rooms import DRAW, NOON, SDXL, Site, World, site
from tests.support.snapshots import live

R = ReleasePhase
HZ, SG = "hangzhou", "singapore"
CANARY = Strategy(steps=(Share(10, 300.0), Share(50, 600.0)), bake_s=60.0, judge_samples=2)
WAVES = Strategy(waves=((HZ,),), bake_s=60.0, judge_samples=1)


class Outage(MemoryRuntime):
    """A region that is out as long as `out` is set."""

    out = False

    def read(self, function: str, alias: str) -> AliasState:
        self._refuse()
        return super().read(function, alias)

    def stage(self, function: str, change: Change, token: str, *, known: Sequence[str], waiting: Waiting) -> Staged:
        self._refuse()
        return super().stage(function, change, token, known=known, waiting=waiting)

    def probe(
        self, function: str, candidate: str, function_version: str, probe: Probe, waiting: Waiting = ignore_waits
    ) -> ProbeReport:
        self._refuse()
        return super().probe(function, candidate, function_version, probe, waiting)

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        self._refuse()
        return super().flip(function, alias, to, expect)

    def _refuse(self) -> None:
        if self.out:
            raise Unavailable("the region is out")


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    """What the steps write is proven on each database by the tests of `state`, two walks by `test_steps_on_each`."""
    return on_sqlite


def by(here: Site, strategy: Strategy) -> Site:
    return site(here.world, here.state, strategies=Strategies(((("sd*",), strategy),)), engine=here.engine)


def outage(here: Site, strategy: Strategy) -> tuple[Site, Outage]:
    """A site whose second region can be out."""
    real = here.world.runtimes[SG]
    runtime = Outage(real.answers)
    runtime.functions.update(real.functions)
    here.world.runtimes[SG] = runtime
    return by(here, strategy), runtime


def left_behind(here: Site, strategy: Strategy) -> tuple[Site, Outage, Release]:
    """v2 is live without the second region, which is out."""
    live(here, "v1")
    here, away = outage(here, strategy)
    away.out = True
    here.world.deliver(SDXL, "v2")
    release = publish(here.requester, SDXL, "v2")
    here.settle(patient=True)
    assert here.release(release.id).phase is R.LIVE
    assert here.world.alias(HZ) == AliasState("2")
    return here, away, release


def moving(here: Site, version: str) -> Release:
    """A release that has come to its first pause."""
    here.world.deliver(SDXL, version)
    release = publish(here.requester, SDXL, version)
    here.settle()
    return here.release(release.id)


def later(here: Site, seconds: float) -> None:
    """Let time pass in small parts, as a process at work sees it."""
    for _ in range(10):
        here.world.time += timedelta(seconds=seconds / 10)
        here.settle()


def shares(here: Site) -> dict[str, dict[str, float]]:
    return {region: dict(here.world.alias(region).weights) for region in (HZ, SG)}


def says(here: Site, release_id: str) -> str:
    way = load(here.state, release_id).rollout
    return way.says if way else ""


def untouched(here: Site) -> bool:
    return here.world.alias(HZ) == AliasState("1") and here.world.alias(SG) == AliasState("1")


def test_every_step_has_the_good_answers_it_wants(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    release = moving(here, "v2")
    for _ in range(3):
        later(here, 700)
        with here.state.read() as conn:
            counted = rollouts.canaries_of(conn, release.id)
        assert all(canary.good >= CANARY.judge_samples and not canary.bad for canary in counted.values())
    assert here.release(release.id).phase is R.LIVE


def test_who_begins_again_in_the_middle_of_a_pause_waits_for_the_rest_of_it(here: Site) -> None:
    live(here, "v1")
    release = moving(by(here, CANARY), "v2")
    here.world.time += timedelta(seconds=200)
    again = site(here.world, here.state, owner="worker-2")  # nor does it know of the strategy any more
    later(again, 60)
    assert shares(again) == {HZ: {"2": 0.1}, SG: {"2": 0.1}}
    later(again, 60)
    assert shares(again) == {HZ: {"2": 0.5}, SG: {"2": 0.5}}
    assert again.release(release.id).phase is R.FLIPPING


def test_a_clock_that_was_set_back_costs_one_pause_at_most(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    moving(here, "v2")
    here.world.time -= timedelta(days=3)
    later(here, 290)
    assert shares(here) == {HZ: {"2": 0.1}, SG: {"2": 0.1}}
    later(here, 300)
    assert shares(here) == {HZ: {"2": 0.5}, SG: {"2": 0.5}}


def test_that_a_version_cannot_be_asked_is_no_verdict_and_it_waits(here: Site) -> None:
    live(here, "v1")
    here, region = outage(here, CANARY)
    release = moving(here, "v2")
    region.out = True
    later(here, 3000)
    assert here.release(release.id).phase is R.FLIPPING
    assert here.world.alias(HZ).weights == {"2": 0.1}
    assert {s.state for s in here.steps(release.id).values() if s.kind == "judge"} >= {StepState.WAITING}
    region.out = False
    later(here, 300)
    assert shares(here) == {HZ: {"2": 0.5}, SG: {"2": 0.5}}


def test_who_cannot_be_judged_until_the_deadline_goes_back(here: Site) -> None:
    live(here, "v1")
    here, region = outage(here, CANARY)
    release = moving(here, "v2")
    region.out = True
    later(here, 300 + CANARY.deadline_s + 60)
    assert here.release(release.id).phase is R.UNDOING
    assert "too few answers" in here.release(release.id).reason
    assert here.world.alias(HZ) == AliasState("1"), "who can go back does not wait for who cannot"
    region.out = False
    here.settle(patient=True)
    assert here.release(release.id).phase is R.UNDONE
    assert untouched(here)


@pytest.mark.parametrize("seconds", [0, 400, 950])
def test_a_cancel_in_the_middle_of_the_steps_takes_all_of_it_back(here: Site, seconds: int) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    release = moving(here, "v2")
    later(here, seconds)
    cancel(here.requester, release.id, "wrong eyes")
    here.settle(patient=True)
    ended = here.release(release.id)
    assert (ended.phase, ended.reason) == (R.UNDONE, "cancelled by ops: wrong eyes")
    assert untouched(here)
    here.assert_record_is_true()


def test_a_rollback_in_the_middle_goes_back_at_once_and_a_rollback_after_it_too(here: Site) -> None:
    live(here, "v1")
    here = by(here, Strategy(waves=((HZ,),), steps=(Share(10, 300.0),), bake_s=60.0, judge_samples=1))
    release = moving(here, "v2")
    later(here, 320)
    later(here, 80)
    assert [here.world.alias(region) for region in (HZ, SG)] == [AliasState("2"), AliasState("1", {"2": 0.1})]
    assert rollback(here.requester, SDXL, "bad").id == release.id
    here.settle()  # no clock moves
    assert here.release(release.id).phase is R.UNDONE
    assert untouched(here)
    here.assert_record_is_true()


def test_a_rollback_follows_no_strategy(here: Site) -> None:
    live(here, "v1", "v2")
    here = by(here, CANARY)
    back = rollback(here.requester, SDXL, "bad")
    here.settle()
    assert here.release(back.id).phase is R.LIVE
    assert untouched(here)


def test_a_newer_version_takes_the_place_of_one_that_has_not_moved_and_waits_for_one_that_has(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    here.world.deliver(SDXL, "v2")
    here.world.deliver(SDXL, "v3")
    second = publish(here.requester, SDXL, "v2")
    here.until(R.STAGING, second.id)
    third = publish(here.requester, SDXL, "v3")
    here.settle()
    assert here.release(second.id).phase is R.SUPERSEDED
    assert shares(here)[HZ]
    fourth = moving(here, "v4")
    later(here, 10)
    queued = here.release(fourth.id)
    assert (queued.phase, queued.reason.partition(",")[0]) == (R.STAGING, f"waits for {third.id}")
    here.settle(patient=True)
    assert here.release(third.id).phase is R.LIVE
    assert here.release(fourth.id).phase is R.LIVE
    here.assert_record_is_true()


def test_a_later_wave_moves_when_the_first_is_baked_and_goes_back_before_it(here: Site) -> None:
    live(here, "v1")
    here = by(here, WAVES)
    release = moving(here, "v2")
    assert (here.world.alias(HZ), here.world.alias(SG)) == (AliasState("2"), AliasState("1"))
    assert says(here, release.id).startswith("step 1 of 2: all in hangzhou until")
    later(here, 70)
    assert here.world.alias(SG) == AliasState("2")
    cancel(here.requester, release.id, "")
    here.settle()
    assert untouched(here)
    back = [event.subject for event in here.events(release.id) if event.kind == "flip.undone"]
    assert back == ["draw-sg", "draw-hz"]


def test_a_freeze_stops_the_next_step(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    release = moving(here, "v2")
    freeze(here.requester, SDXL, "the sale", None)
    later(here, 900)
    assert shares(here)[HZ] == {"2": 0.1}
    assert "frozen by ops: the sale" in here.release(release.id).reason
    unfreeze(here.requester, SDXL)
    later(here, 10)
    assert shares(here)[HZ] == {"2": 0.5}
    assert not here.release(release.id).reason


def test_where_there_is_nothing_to_share_with_a_step_takes_no_time(here: Site) -> None:
    here = by(here, CANARY)
    release = moving(here, "v1")
    assert {flip.phase for flip in here.flips(release.id).values()} == {FlipPhase.FLIPPED}
    later(here, 70)
    assert here.release(release.id).phase is R.LIVE
    again = publish(here.requester, SDXL, "v1")
    later(here, 70)
    assert here.release(again.id).phase is R.LIVE
    assert untouched(here)


LEAVE = Strategy(requirement=Requirement.QUORUM, quorum=1, region_out=OnRegionUnavailable.LEAVE)
PRIMARY = Strategy(
    waves=((HZ,),),
    requirement=Requirement.PRIMARY_FIRST,
    region_out=OnRegionUnavailable.LEAVE,
    bake_s=60.0,
    judge_samples=1,
)


@pytest.mark.parametrize("strategy", [LEAVE, PRIMARY])
def test_a_region_that_is_unavailable_is_left_behind_and_said_so(here: Site, strategy: Strategy) -> None:
    here, region, release = left_behind(here, strategy)
    assert document(load(here.state, release.id))["left_behind"] == ["draw-sg"]
    region.out = False
    assert here.world.alias(SG) == AliasState("1")
    here.assert_record_is_true()
    again = publish(here.requester, SDXL, "v2")
    here.settle(patient=True)
    assert here.release(again.id).phase is R.LIVE
    assert here.world.alias(SG) == AliasState("2")
    here.assert_record_is_true()


def test_a_region_that_was_left_behind_catches_up_by_itself(here: Site) -> None:
    here, region, release = left_behind(here, PRIMARY)
    here.world.time += timedelta(seconds=PRIMARY.deadline_s - 60)
    here.settle(patient=True)
    assert here.all_releases()[0].id == release.id, "it is not time yet"
    region.out = False
    here.world.time += timedelta(seconds=120)
    here.settle(patient=True)
    again = here.all_releases()[0]
    assert (again.phase, again.requested_by) == (R.LIVE, f"syncd, for what {release.id} left behind")
    assert here.world.alias(SG) == here.world.alias(HZ) == AliasState("2")
    here.world.time += timedelta(days=1)
    here.settle(patient=True)
    assert here.all_releases()[0].id == again.id, "nobody is behind any more"
    here.assert_record_is_true()


def test_too_few_regions_stall_the_release(here: Site) -> None:
    live(here, "v1")
    here, region = outage(
        here, Strategy(requirement=Requirement.QUORUM, quorum=2, region_out=OnRegionUnavailable.LEAVE)
    )
    region.out = True
    release = moving(here, "v2")
    here.settle(patient=True)
    assert here.release(release.id).phase is R.STALLED
    region.out = False
    assert untouched(here)


def test_others_may_be_late_where_the_primary_is_first(here: Site) -> None:
    live(here, "v1")
    here, region = outage(here, PRIMARY)
    region.out = True
    release = moving(here, "v2")
    assert here.release(release.id).phase is R.FLIPPING
    assert here.world.alias(HZ) == AliasState("2")
    region.out = False
    here.settle(patient=True)
    assert here.release(release.id).phase is R.LIVE
    assert here.world.alias(SG) == AliasState("2")


def test_a_region_that_is_unavailable_is_waited_for_until_the_deadline(here: Site) -> None:
    live(here, "v1")
    here, region = outage(here, Strategy(region_out=OnRegionUnavailable.WAIT, deadline_s=3600.0))
    region.out = True
    release = moving(here, "v2")
    later(here, 3000)
    assert here.release(release.id).phase is R.STAGING
    later(here, 6000)
    assert here.release(release.id).phase is R.STALLED
    region.out = False
    assert untouched(here)
    again = publish(here.requester, SDXL, "v2")
    region.out = True
    later(here, 600)
    region.out = False
    here.settle(patient=True)
    assert here.release(again.id).phase is R.LIVE


def test_a_plan_tells_the_steps(here: Site) -> None:
    live(here, "v1")
    here.world.deliver(SDXL, "v2")
    assert plan(here.looker, "models", SDXL, "v2").steps == (StepPlan((HZ, SG), 100, 0.0),)
    here = by(here, Strategy(waves=((SG,),), steps=(Share(10, 300.0),), bake_s=60.0))
    assert plan(here.looker, "models", SDXL, "v2").steps == (
        StepPlan((SG,), 10, 300.0),
        StepPlan((SG,), 100, 60.0),
        StepPlan((HZ,), 10, 300.0),
        StepPlan((HZ,), 100, 60.0),
    )


def test_a_share_that_a_release_gives_is_no_finding(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    moving(here, "v2")
    assert not [f.wrong for f in verify(here.looker, SDXL, Depth.SIZES) if f.wrong]
    runtime = here.world.runtimes[HZ]
    runtime.functions["draw"].aliases["prod"] = AliasState("1", {"7": 0.5})
    assert [f.subject for f in verify(here.looker, SDXL, Depth.SIZES) if f.wrong] == ["draw-hz"]


def test_a_release_at_once_has_no_way_to_tell_of(here: Site) -> None:
    release = live(here, "v1")
    with here.state.read() as conn:
        assert rollouts.find(conn, release.id) is None
        assert describe(conn, release.id, [], NOON) is None


def test_worlds_of_one_region_at_a_time_are_told_apart(here: Site, world: World) -> None:
    live(here, "v1")
    here = by(here, WAVES)
    release = moving(here, "v2")
    way = load(here.state, release.id).rollout
    assert way is not None
    assert (way.wave, way.waves, way.regions, way.percent) == (1, 2, [HZ], 100)
    assert way.until is not None
    assert way.until > world.time


class Figures:
    """A signal that says what it is told to."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.is_silent = False
        self.asked: list[Subject] = []

    def measure(self, subject: Subject) -> Evidence:
        self.asked.append(subject)
        if self.is_silent:
            raise Unavailable("no answer from the monitoring")
        return Evidence(self.verdict, f"it is {self.verdict.value}")


def judged_by(here: Site, figures: Figures) -> Site:
    strategy = replace(CANARY, signals=("errors",))
    return site(
        here.world,
        here.state,
        strategies=Strategies(((("sd*",), strategy),)),
        engine=here.engine,
        signals={"errors": figures},
    )


@pytest.mark.parametrize("verdict", [Verdict.GOOD, Verdict.NOT_ENOUGH])
def test_a_figure_that_is_good_or_says_nothing_lets_the_answers_decide(here: Site, verdict: Verdict) -> None:
    live(here, "v1")
    figures = Figures(verdict)
    here = judged_by(here, figures)
    release = moving(here, "v2")
    for seconds in (301, 601, 61):
        later(here, seconds)
    assert here.release(release.id).phase is R.LIVE
    first = figures.asked[0]
    assert (first.function_version, first.alias) == ("2", "prod")
    assert {subject.region for subject in figures.asked} == {HZ, SG}


def test_a_bad_figure_takes_the_release_back_and_says_which(here: Site) -> None:
    live(here, "v1")
    figures = Figures(Verdict.GOOD)
    here = judged_by(here, figures)
    release = moving(here, "v2")
    figures.verdict = Verdict.BAD
    later(here, 301)
    ended = here.release(release.id)
    assert ended.phase is R.UNDONE
    assert "errors: it is bad" in ended.reason
    assert untouched(here)


def test_monitoring_that_does_not_answer_keeps_the_release_where_it_is(here: Site) -> None:
    live(here, "v1")
    figures = Figures(Verdict.GOOD)
    figures.is_silent = True
    here = judged_by(here, figures)
    release = moving(here, "v2")
    later(here, 400)
    assert here.release(release.id).phase is R.FLIPPING
    assert shares(here) == {HZ: {"2": 0.1}, SG: {"2": 0.1}}
    figures.is_silent = False
    for seconds in (301, 601, 61):
        later(here, seconds)
    assert here.release(release.id).phase is R.LIVE


def test_a_signal_that_is_not_configured_any_more_keeps_the_release_where_it_is(here: Site) -> None:
    live(here, "v1")
    release = moving(judged_by(here, Figures(Verdict.GOOD)), "v2")
    here = by(here, CANARY)
    later(here, 400)
    assert here.release(release.id).phase is R.FLIPPING


@pytest.mark.parametrize("weights", [{"1": 0.3}, {"2": 0.3}])
def test_shares_that_somebody_gave_by_hand_are_told_of_before_they_go_back(
    here: Site, weights: dict[str, float]
) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    release = moving(here, "v2")
    main = "2" if "1" in weights else "1"
    for runtime in here.world.runtimes.values():
        runtime.functions[DRAW].aliases["prod"] = AliasState(main, weights)
    cancel(here.requester, release.id, "wrong eyes")
    here.settle(patient=True)
    assert here.release(release.id).phase is R.UNDONE
    assert untouched(here)
    told = [event for event in here.events(release.id) if event.kind == "binding.overwritten"]
    assert [event.subject for event in told] == ["draw-hz", "draw-sg"]
    ((other, _),) = weights.items()
    assert told[0].detail == {"got": f"{main}, 30% to {other}", "want": "1"}


def test_shares_of_its_own_go_back_without_a_word(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    release = moving(here, "v2")
    cancel(here.requester, release.id, "wrong eyes")
    here.settle(patient=True)
    assert untouched(here)
    assert not [event for event in here.events(release.id) if event.kind == "binding.overwritten"]


def test_shares_that_are_there_before_a_release_are_told_of_by_it(here: Site) -> None:
    live(here, "v1", "v2")
    here.world.runtimes[HZ].functions[DRAW].aliases["prod"] = AliasState("2", {"1": 0.2})
    third = live(here, "v3")
    (told,) = [event for event in here.events(third.id) if event.kind == "binding.drifted"]
    assert (told.subject, told.detail) == ("draw-hz", {"alias": "2, 20% to 1", "record": "2"})
