"""Claims of one alias by several models: a rollback takes what is not moving, and a release that waits yields."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from syncd.plan.gate import Gates
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.plan.strategy import OnRegionUnavailable, Share, Strategies, Strategy
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import approve, cancel, freeze, publish, unfreeze, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.release import load
from syncd.state.releases import releases

from tests.support.rooms import FLEET, LORA, SDXL, Site, site
from tests.unit.reconcile.test_steps import HZ, SG, outage

R = ReleasePhase
BACK_WITHIN_S = 5.0  # of the world's clock
CANARY = Strategy(waves=((HZ,), (SG,)), steps=(Share(10, 3600.0),), judge_samples=1)
OTHER_WAVE_FIRST = Strategy(waves=((SG,), (HZ,)), steps=(Share(10, 3600.0),), judge_samples=1)
WAITING = Strategy(region_out=OnRegionUnavailable.WAIT, deadline_s=86_400.0)


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    """Both models are live in v2 on top of v1; LORA in Hangzhou alone, on the function that serves SDXL there."""
    for model in (SDXL, LORA):
        for version in ("v1", "v2"):
            on_sqlite.world.deliver(model, version)
            publish(on_sqlite.requester, model, version)
            on_sqlite.settle(patient=True)
    return on_sqlite


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[list[tuple[str, str]]]:
    """What the cases found: printed at the end, to be seen with `-s`."""
    rows: list[tuple[str, str]] = []
    yield rows
    lines = ["what holds the alias        seconds until the rollback of another model has moved it"]
    lines += [f"{what:<27} {seconds}" for what, seconds in rows]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


def asked(here: Site, model: str, version: str = "v3") -> str:
    here.world.deliver(model, version)
    return publish(here.requester, model, version).id


def with_approval(here: Site) -> tuple[Site, str, str]:
    here = site(here.world, here.state, gates=Gates(approval=(SDXL,)), engine=here.engine)
    holder = asked(here, SDXL)
    here.settle()
    assert here.release(holder).reason == "waits for an approval"
    return here, holder, LORA


def with_freeze(here: Site) -> tuple[Site, str, str]:
    freeze(here.requester, SDXL, "a sale", None)
    holder = asked(here, SDXL)
    here.settle()
    assert "frozen" in here.release(holder).reason
    return here, holder, LORA


def with_dead_region(here: Site) -> tuple[Site, str, str]:
    here, away = outage(here, WAITING)
    away.out = True
    holder = asked(here, SDXL)
    here.settle()
    assert here.flips(holder)["draw-hz"].phase is FlipPhase.PROBED
    return here, holder, LORA


def with_backoff(here: Site) -> tuple[Site, str, str]:
    here.world.wrong.add((LORA, "v3"))
    holder = asked(here, LORA)
    here.settle()
    assert here.steps(holder)["probe/draw-hz"].failures
    return here, holder, SDXL


def with_canary_elsewhere(here: Site) -> tuple[Site, str, str]:
    here = site(here.world, here.state, strategies=Strategies((((SDXL,), OTHER_WAVE_FIRST),)), engine=here.engine)
    holder = asked(here, SDXL)
    here.settle()
    assert here.world.alias(SG).weights
    return here, holder, LORA


CASES: dict[str, Callable[[Site], tuple[Site, str, str]]] = {
    "approval": with_approval,
    "freeze": with_freeze,
    "dead region": with_dead_region,
    "backoff": with_backoff,
    "canary pause, other alias": with_canary_elsewhere,
}


def expected(here: Site, back: str) -> list[str]:
    versions = {model: "v1" if model == back else "v2" for model in (SDXL, LORA)}
    return sorted(here.digest(model, version) for model, version in versions.items())


@pytest.mark.parametrize("what", CASES)
def test_a_rollback_takes_the_alias_from_what_has_moved_nothing(
    here: Site, table: list[tuple[str, str]], what: str
) -> None:
    here, holder, back = CASES[what](here)
    began = here.world.time
    release = rollback(here.requester, back, "bad eyes")
    here.settle()
    seconds = (here.world.time - began).total_seconds()
    assert here.world.serves(HZ) == expected(here, back), "no clock was moved"
    assert here.release(release.id).phase is R.LIVE
    assert seconds < BACK_WITHIN_S
    assert here.release(holder).phase in {R.STAGING, R.FLIPPING}, "it is not lost"
    kinds = [event.kind for event in here.events(holder)]
    assert kinds.count("flip.yielded") == 1
    table.append((what, f"{seconds:.2f}"))


def test_what_yielded_its_alias_is_prepared_anew_and_goes_live_beside_the_version_that_is_back(here: Site) -> None:
    here, holder, back = with_approval(here)
    before = here.flips(holder)["draw-hz"].to_version
    rollback(here.requester, back, "bad eyes")
    here.settle()
    again = here.flips(holder)["draw-hz"]
    assert again.phase is FlipPhase.PROBED
    assert again.to_version != before
    approve(here.requester, holder)
    here.settle()
    assert here.release(holder).phase is R.LIVE
    assert here.world.serves(HZ) == sorted([here.digest(SDXL, "v3"), here.digest(LORA, "v1")])
    here.assert_record_is_true()


def test_an_alias_that_carries_a_share_is_kept_and_the_hint_takes_it_back(
    here: Site, table: list[tuple[str, str]]
) -> None:
    here = site(here.world, here.state, strategies=Strategies((((SDXL,), CANARY),)), engine=here.engine)
    holder = asked(here, SDXL)
    here.settle()
    assert here.world.alias(HZ).weights
    release = rollback(here.requester, LORA, "bad eyes")
    here.settle()
    assert load(here.state, release.id).release.hint == (
        f"`syncd cancel {holder}` takes that one back now, and this goes on"
    )
    began = here.world.time
    cancel(here.requester, holder, "lora first")
    here.settle()
    assert here.world.serves(HZ) == expected(here, LORA)
    seconds = (here.world.time - began).total_seconds()
    assert seconds < BACK_WITHIN_S
    table.append(("canary pause, this alias", f"{seconds:.2f} after `syncd cancel {holder}`, which its hint names"))
    here.assert_record_is_true()


def test_two_that_need_each_others_alias_do_not_wait_for_each_other(on_sqlite: Site) -> None:
    """The canary has Singapore and still needs Hangzhou; the rollback has Hangzhou and still needs Singapore."""
    hz, sg = FLEET.bindings["draw-hz"], FLEET.bindings["draw-sg"]
    lora = replace(hz.models[1], target="sg")
    both = replace(FLEET, bindings={"draw-hz": hz, "draw-sg": replace(sg, models=(*sg.models, lora))})
    strategy = replace(OTHER_WAVE_FIRST, steps=(Share(10, 5.0),))
    world, state = on_sqlite.world, on_sqlite.state
    here = site(world, state, topology=both, strategies=Strategies((((SDXL,), strategy),)), engine=on_sqlite.engine)
    for model in (SDXL, LORA):
        for version in ("v1", "v2"):
            asked(here, model, version)
            here.settle(patient=True)
    holder = asked(here, SDXL)
    here.settle()
    assert world.alias(SG).weights
    back = rollback(here.requester, LORA, "bad eyes")
    here.settle()
    assert world.serves(HZ) == expected(here, LORA)
    assert here.release(back.id).phase is R.FLIPPING
    here.settle(patient=True)
    assert {here.release(each).phase for each in (holder, back.id)} == {R.LIVE}
    for region in (HZ, SG):
        assert world.serves(region) == sorted([here.digest(SDXL, "v3"), here.digest(LORA, "v1")])
    here.assert_record_is_true()


def test_a_release_that_waits_yields_its_alias_to_a_newer_one_that_does_not(here: Site) -> None:
    here, holder, _ = with_freeze(here)
    newer = asked(here, LORA)
    here.settle()
    assert here.release(newer).phase is R.LIVE
    assert here.world.serves(HZ) == sorted([here.digest(SDXL, "v2"), here.digest(LORA, "v3")])
    unfreeze(here.requester, SDXL)
    here.settle()
    assert here.release(holder).phase is R.LIVE
    assert here.world.serves(HZ) == sorted([here.digest(SDXL, "v3"), here.digest(LORA, "v3")])
    here.assert_record_is_true()


def test_of_two_that_wait_neither_takes_from_the_other(here: Site) -> None:
    freeze(here.requester, None, "a holiday", None)
    first, second = asked(here, SDXL), asked(here, LORA)
    for _ in range(20):
        here.settle()
    with here.state.read() as conn:
        assert {r.id for r in releases.unfinished(conn)} == {first, second}
    assert here.flips(second) == {}
    assert "flip.yielded" not in {event.kind for event in here.events()}
    unfreeze(here.requester, None)
    here.settle()
    assert {here.release(each).phase for each in (first, second)} == {R.LIVE}


def test_a_worker_that_still_prepares_what_was_yielded_records_nothing(here: Site) -> None:
    holder = asked(here, SDXL)
    here.until(R.STAGING, holder)
    tick(here.context)
    runtime = here.world.runtimes[HZ]
    right = runtime.stage

    def during(*given: object, **more: object) -> object:
        runtime.stage = right  # type: ignore[method-assign]
        back = rollback(here.requester, LORA, "bad eyes")
        here.until(R.LIVE, back.id)
        return right(*given, **more)  # type: ignore[arg-type]

    runtime.stage = during  # type: ignore[method-assign, assignment]
    while runtime.stage != right:
        assert here.run_one(holder)
    assert here.world.serves(HZ) == expected(here, LORA)
    unhold(here.requester, LORA)
    here.settle(patient=True)
    assert here.release(holder).phase is R.LIVE
    here.assert_record_is_true()
