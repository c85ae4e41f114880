"""Gates before the first flip: cancellation, a missing approval, a freeze."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, time, timedelta

import pytest
from syncd.artifact.digest import Digest
from syncd.errors import Conflict, NotFound
from syncd.plan.gate import Gates, WeekTime, Window
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import approve, cancel, freeze, publish, unfreeze
from syncd.reconcile.requests.rollbacks import rollback
from syncd.state.content import versions
from syncd.state.releases import approvals, releases
from syncd.values.function import AliasState

from tests.support.rooms import LORA, NOON, SDXL, Site, World, site

R = ReleasePhase


def with_gates(here: Site, gates: Gates) -> Site:
    return site(here.world, here.state, gates=gates, engine=here.engine)


def kinds(here: Site, release_id: str) -> list[str]:
    return [event.kind for event in here.events(release_id)]


@pytest.mark.parametrize("phase", [R.REQUESTED, R.PLACING, R.STAGING])
def test_a_cancelled_release_moves_nothing_and_the_next_goes_on_from_it(
    here: Site, world: World, phase: ReleasePhase
) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.until(phase, release.id)
    cancel(here.requester, release.id, "wrong eyes")
    assert cancel(here.requester, release.id, "another reason").id == release.id
    here.settle()
    ended = here.release(release.id)
    assert (ended.phase, ended.reason) == (R.CANCELLED, "cancelled by ops: wrong eyes")
    assert cancel(here.requester, release.id, "once more").phase is R.CANCELLED
    assert world.alias("hangzhou") == AliasState(None)
    assert kinds(here, release.id).count("release.cancel_wanted") == 1
    again = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(again.id).phase is R.LIVE
    here.assert_record_is_true()


def test_what_has_ended_or_moves_aliases_is_not_cancelled(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.until(R.FLIPPING, release.id)
    with pytest.raises(Conflict, match="is moving aliases") as caught:
        cancel(here.requester, release.id, "")
    assert caught.value.hint == "`syncd rollback sdxl` takes them back"
    here.settle()
    with pytest.raises(Conflict, match="has ended: it is live"):
        cancel(here.requester, release.id, "")
    with pytest.raises(NotFound):
        cancel(here.requester, "r-99", "")


def test_a_cancel_that_meets_the_first_flip_takes_it_back(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    read = here.until(R.FLIPPING, release.id)
    with here.state.write() as conn:  # it was read before that, and asked to end after
        assert not releases.request_cancel(conn, replace(read, phase=R.STAGING), "ops: late", here.state.now(conn))
        assert releases.request_cancel(conn, read, "ops: late", here.state.now(conn))
    here.settle()
    ended = here.release(release.id)
    assert (ended.phase, ended.reason) == (R.UNDONE, "cancelled by ops: late")
    assert world.alias("hangzhou") == AliasState(None)
    here.assert_record_is_true()


def test_a_model_that_wants_an_approval_waits_ready_at_the_barrier(here: Site, world: World) -> None:
    here = with_gates(here, Gates(approval=("sd*",)))
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    with pytest.raises(Conflict, match="not known yet"):
        approve(here.requester, release.id)
    here.settle()
    waiting = here.release(release.id)
    assert (waiting.phase, waiting.reason) == (R.STAGING, "waits for an approval")
    assert f"syncd approve {release.id}" in waiting.hint
    assert world.alias("hangzhou") == AliasState(None)
    assert not tick(here.context), "waiting writes nothing"
    given = approve(here.requester, release.id)
    assert (given.who, given.digest.hex) == ("ops", here.digest(SDXL, "v1"))
    assert approve(here.requester, release.id) == given
    here.settle()
    assert here.release(release.id).phase is R.LIVE
    assert kinds(here, release.id).count("release.approved") == 1
    with pytest.raises(Conflict, match="has ended"):
        approve(here.requester, release.id)


def test_an_approval_is_for_these_bytes(here: Site, world: World) -> None:
    here = with_gates(here, Gates(approval=("sdxl",)))
    world.deliver(SDXL, "v1")
    world.deliver(LORA, "v1", "other bytes")
    release, other = publish(here.requester, SDXL, "v1"), publish(here.requester, LORA, "v1")
    here.until(R.PLACING, other.id)
    here.until(R.PLACING, release.id)
    with here.state.write() as conn:
        wrong = digest_of(here, LORA)
        approvals.put(conn, here.release(release.id), wrong, "ann", here.state.now(conn))
    here.until(R.LIVE, other.id)
    here.settle()
    assert here.release(release.id).reason == "waits for an approval"
    approve(here.requester, release.id)
    here.settle()
    assert here.release(release.id).phase is R.LIVE


def digest_of(here: Site, model: str) -> Digest:
    with here.state.read() as conn:
        found = versions.find(conn, model, "v1")
    assert found is not None
    return found.digest


@pytest.mark.parametrize("model", [SDXL, None])
def test_a_freeze_stops_flips_and_nothing_before_them(here: Site, world: World, model: str | None) -> None:
    freeze(here.requester, model, "audit", None)
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(release.id).reason == "waits: frozen by ops: audit"
    assert {p.phase for p in here.placements(SDXL, "v1").values()} == {PlacementPhase.SEALED}
    assert world.alias("hangzhou") == AliasState(None)
    assert not unfreeze(here.requester, LORA)
    assert unfreeze(here.requester, model)
    assert not unfreeze(here.requester, model)
    here.settle()
    assert here.release(release.id).phase is R.LIVE


def test_a_freeze_of_one_model_leaves_the_others_alone(here: Site, world: World) -> None:
    freeze(here.requester, LORA, "audit", None)
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(release.id).phase is R.LIVE


def test_a_freeze_ends_by_itself(here: Site, world: World) -> None:
    freeze(here.requester, None, "audit", timedelta(hours=48))
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(release.id).phase is R.STAGING
    world.time += timedelta(hours=48)
    assert not unfreeze(here.requester, None), "its time is over"
    here.settle()
    assert here.release(release.id).phase is R.LIVE


def test_a_window_of_the_week_stops_flips_until_it_ends(here: Site, world: World) -> None:
    assert NOON.weekday() == 6
    here = with_gates(here, Gates(windows=(Window(WeekTime(4, time(18)), WeekTime(0, time(8)), UTC),)))
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(release.id).reason == "waits: nothing is flipped fri 18:00 to mon 08:00 UTC"
    world.time += timedelta(hours=20)
    here.settle()
    assert here.release(release.id).phase is R.LIVE


def test_a_rollback_waits_for_nobody(here: Site, world: World) -> None:
    for name in ("v1", "v2"):
        world.deliver(SDXL, name)
        publish(here.requester, SDXL, name)
        here.settle()
    here = with_gates(here, Gates(approval=("*",)))
    freeze(here.requester, None, "audit", None)
    back = rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    assert here.release(back.id).phase is R.LIVE
    assert world.serves("hangzhou") == [here.digest(SDXL, "v1")]


def test_what_nobody_serves_is_not_frozen(here: Site) -> None:
    with pytest.raises(NotFound):
        freeze(here.requester, "nobody", "x", None)
