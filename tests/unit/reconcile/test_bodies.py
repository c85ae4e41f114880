"""Step handlers (place, stage, probe, flip, undo) where the world differs from the record."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from syncd.errors import Conflict, Unavailable
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepState
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import publish
from syncd.runtime.memory import MemoryRuntime
from syncd.values.function import AliasState, Change

from tests.support.rooms import DRAW, LORA, SDXL, Site, World, site


def released(here: Site, world: World, model: str, *names: str) -> None:
    for name in names:
        world.deliver(model, name)
        release = publish(here.requester, model, name)
        here.settle()
        assert here.release(release.id).phase is ReleasePhase.LIVE


@dataclass
class Broken(MemoryRuntime):
    """The runtime of a region, over the same functions, whose flips fail before or after they are done."""

    real: MemoryRuntime
    fails: dict[str, int] = field(default_factory=dict)  # "before" or "after" -> how often

    def __post_init__(self) -> None:
        super().__init__(self.real.answers)
        self.functions = self.real.functions  # type: ignore[misc]

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        if self.fails.get("before", 0) > 0:
            self.fails["before"] -= 1
            raise Unavailable("cut off")
        state = super().flip(function, alias, to, expect)
        if self.fails.get("after", 0) > 0:
            self.fails["after"] -= 1
            raise Unavailable("the answer is lost")
        return state


def with_broken(here: Site, world: World, **fails: int) -> Site:
    broken = Broken(world.runtimes["singapore"], fails)
    return site(world, here.state, owner="worker-2", runtimes=world.runtimes | {"singapore": broken})


# Placing.


def test_the_source_is_read_once_for_all_targets_and_progress_is_seen(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    for placement in here.placements(SDXL, "v1").values():
        assert placement.bytes_sent == 100_008
        assert placement.progress["files_finished"] == 2
    told = [event.kind for event in here.events() if event.kind.startswith("placement.")]
    assert sorted(told) == ["placement.copying"] * 2 + ["placement.sealed"] * 2 + ["placement.wanted"] * 2


def test_a_target_that_has_the_version_is_left_as_it_is(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    before = {name: dict(store.objects) for name, store in world.stores.items()}
    again = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(again.id).phase is ReleasePhase.LIVE
    assert {name: dict(store.objects) for name, store in world.stores.items()} == before


def test_a_sealed_version_that_is_not_whole_is_repaired_by_the_next_release(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    (manifest,) = world.sealed("hz").values()
    whole = world.stores["hz"].objects.pop(f"{manifest.directory}/config.json")
    again = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(again.id).phase is ReleasePhase.LIVE
    assert world.stores["hz"].objects[f"{manifest.directory}/config.json"].data == whole.data


def test_one_target_that_fails_does_not_hold_up_the_others(here: Site, world: World) -> None:
    class CutOff(type(world.stores["sg"])):  # type: ignore[misc]
        def put(self, *_: object) -> None:
            raise Unavailable("no room", retry_after_s=3.0)

    world.stores["sg"] = CutOff()
    there = site(world, here.state)
    world.deliver(SDXL, "v1")
    release = publish(there.requester, SDXL, "v1")
    there.settle()
    phases = {target: placement.phase for target, placement in there.placements(SDXL, "v1").items()}
    assert phases == {"hz": PlacementPhase.SEALED, "sg": PlacementPhase.COPYING}
    step = there.steps(release.id)["place/targets"]
    assert step.state is StepState.WAITING
    assert "sg: no room" in step.reason
    assert here.world.alias("hangzhou") == AliasState(None), "no region is half released"


def test_bytes_that_changed_at_the_source_after_they_were_pinned_are_never_placed(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.until(ReleasePhase.PLACING, release.id)
    world.change(SDXL, "v1", "other bytes")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.STALLED
    assert world.sealed("hz") == world.sealed("sg") == {}


# Staging and probing.


def test_what_the_function_serves_besides_is_carried_along(here: Site, world: World) -> None:
    released(here, world, LORA, "v1")
    released(here, world, SDXL, "v1", "v2")
    assert world.serves("hangzhou") == sorted([here.digest(LORA, "v1"), here.digest(SDXL, "v2")])
    recorded = here.live("draw-hz")
    assert recorded is not None
    assert set(recorded.models) == {SDXL, LORA}


def test_variables_that_are_not_ours_are_kept(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    (published,) = world.runtimes["singapore"].functions[DRAW].versions.values()
    assert published.change.environment["OWNER"] == "team"


def test_a_function_that_answers_with_other_bytes_never_gets_traffic(here: Site, world: World) -> None:
    def lie(_change: Change) -> bytes:
        return b"{}"

    world.runtimes["singapore"].answers = lie
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    stalled = here.release(release.id)
    assert stalled.phase is ReleasePhase.STALLED
    assert stalled.reason.startswith("probe draw-sg")
    assert world.alias("hangzhou") == world.alias("singapore") == AliasState(None)


def test_an_alias_that_was_moved_by_hand_between_releases_is_reported_and_brought_back(
    here: Site, world: World
) -> None:
    released(here, world, SDXL, "v1", "v2")
    world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("1")
    released(here, world, SDXL, "v3")
    drifted = [event for event in here.events() if event.kind == "binding.drifted"]
    assert [(event.subject, event.detail) for event in drifted] == [("draw-sg", {"alias": "1", "record": "2"})]
    here.assert_record_is_true()


# Flipping and going back.


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_flip_whose_outcome_is_unknown_is_settled_by_looking(here: Site, world: World, when: str) -> None:
    there = with_broken(here, world, **{when: 2})
    world.deliver(SDXL, "v1")
    release = publish(there.requester, SDXL, "v1")
    there.settle(patient=True)
    assert there.release(release.id).phase is ReleasePhase.LIVE
    there.assert_record_is_true()


def test_a_flip_that_fails_past_its_retries_takes_every_region_back(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    there = with_broken(here, world, before=4)
    world.deliver(SDXL, "v2")
    release = publish(there.requester, SDXL, "v2")
    there.settle(patient=True)
    undone = there.release(release.id)
    assert undone.phase is ReleasePhase.UNDONE
    assert "cut off" in undone.reason
    assert world.serves("hangzhou") == world.serves("singapore") == [there.digest(SDXL, "v1")]
    there.assert_record_is_true()
    world.deliver(SDXL, "v3")
    with pytest.raises(Conflict, match="was undone"):
        publish(there.requester, SDXL, "v3")


def test_an_alias_moved_by_hand_under_a_release_is_not_moved_back_over_another_change(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2")
    world.deliver(SDXL, "v3")
    release = publish(here.requester, SDXL, "v3")
    here.until(ReleasePhase.FLIPPING, release.id)
    world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("1")
    here.settle()
    for _ in range(60):
        tick(here.context)
        here.run_one()
        world.time = world.time.replace(hour=(world.time.hour + 1) % 24, day=world.time.day + world.time.hour // 23)
    assert here.release(release.id).phase is ReleasePhase.UNDOING
    assert world.alias("singapore") == AliasState("1")
    assert world.serves("hangzhou") == [here.digest(SDXL, "v2")]
    step = here.steps(release.id)["undo/draw-sg"]
    assert "outside syncd" in step.hint
    world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("2")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.UNDONE
    here.assert_record_is_true()


def test_a_process_that_was_killed_after_the_intent_ends_in_the_same_place(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    world.deliver(SDXL, "v2")
    release = publish(here.requester, SDXL, "v2")
    here.until(ReleasePhase.FLIPPING, release.id)

    class Died(BaseException):
        pass

    class Dying(Broken):
        def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
            super().flip(function, alias, to, expect)
            raise Died

    dying = {region: Dying(runtime) for region, runtime in world.runtimes.items()}
    there = site(world, here.state, owner="worker-2", runtimes=dying)
    there = replace(there, engine=here.engine)
    tick(there.context)
    with pytest.raises(Died):
        there.run_one()
    assert FlipPhase.INTENDED in {flip.phase for flip in here.flips(release.id).values()}
    again = site(world, here.state, owner="worker-3")
    again.settle(patient=True)
    assert again.release(release.id).phase is ReleasePhase.LIVE
    again.assert_record_is_true()
