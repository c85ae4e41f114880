"""Sweep of abandoned copies."""

from __future__ import annotations

from datetime import timedelta

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import SEAL_PATH
from syncd.engine.base import ExecutionStatus
from syncd.errors import Unavailable
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.gc.sweep import sweep
from syncd.reconcile.requests.operations import hold, publish, unhold
from syncd.state.content.journal import open_uploads
from syncd.state.content.layers import KEPT, SqlUploadJournal
from syncd.store.memory import MemoryStore, MemoryUpload
from syncd.targets.versioned_tree import TreeTarget

from tests.support.rooms import SDXL, Site, World, site


class Full(MemoryStore):
    """A store that begins uploads and takes no part."""

    def upload(self, key: str, parts: object, resume: str | None = None) -> MemoryUpload:
        begun = super().upload(key, parts, resume)  # type: ignore[arg-type]

        def refuse(*_: object) -> object:
            raise Unavailable("no room")

        begun.send = refuse  # type: ignore[method-assign, assignment]
        return begun


def half_done(here: Site, world: World) -> Site:
    """A process whose copy to `hz` has broken off with an upload open, and whose model is on hold then."""
    world.stores["hz"] = Full()
    there = site(world, here.state)
    world.deliver(SDXL, "v1")
    release = publish(there.requester, SDXL, "v1")
    there.until(ReleasePhase.PLACING, release.id)
    there.settle()
    assert uploads(there) == ["hz"]
    return there


def uploads(here: Site) -> list[str]:
    with here.state.read() as conn:
        return [upload.target for upload in open_uploads(conn)]


def left_alone(here: Site, world: World) -> Site:
    """The same, long after."""
    there = half_done(here, world)
    hold(there.requester, SDXL, "never mind")
    there.settle()
    world.time += timedelta(days=2)
    return there


def test_a_copy_that_an_unfinished_release_wants_is_left(here: Site, world: World) -> None:
    there = half_done(here, world)
    world.time += timedelta(days=2)
    assert sweep(there.context) == 0
    assert uploads(there) == ["hz"]


def test_a_copy_that_broke_off_today_is_kept_for_who_mends_it(here: Site, world: World) -> None:
    there = half_done(here, world)
    hold(there.requester, SDXL, "never mind")
    there.settle()
    assert sweep(there.context) == 0
    assert uploads(there) == ["hz"]


def test_a_copy_that_nobody_wants_any_more_is_cleared(here: Site, world: World) -> None:
    there = left_alone(here, world)
    assert sweep(there.context) == 1
    assert there.placements(SDXL, "v1")["hz"].phase is PlacementPhase.WITHDRAWN
    assert uploads(there) == []
    assert world.stores["hz"].uploads == {}
    assert not [key for key in world.stores["hz"].objects if "v1" in key]
    assert sweep(there.context) == 0


def test_what_is_sealed_is_never_cleared(here: Site, world: World) -> None:
    there = left_alone(here, world)
    assert there.placements(SDXL, "v1")["sg"].phase is PlacementPhase.SEALED
    sweep(there.context)
    assert [key for key in world.stores["sg"].objects if key.endswith(SEAL_PATH)]


def test_a_target_that_cannot_be_reached_is_cleared_the_next_time(here: Site, world: World) -> None:
    there = left_alone(here, world)

    class CutOff(TreeTarget):
        def withdraw(self, *_: object) -> None:
            raise Unavailable("cut off")

    cut_off = site(world, here.state, targets={"hz": CutOff("hz", world.stores["hz"])})
    assert sweep(cut_off.context) == 0
    assert there.placements(SDXL, "v1")["hz"].phase is PlacementPhase.WITHDRAWING
    assert sweep(there.context) == 1


def test_a_release_that_comes_while_a_copy_is_being_cleared_waits_and_copies_anew(here: Site, world: World) -> None:
    there = left_alone(here, world)

    class CutOff(TreeTarget):
        def withdraw(self, *_: object) -> None:
            raise Unavailable("cut off")

    sweep(site(world, here.state, targets={"hz": CutOff("hz", world.stores["hz"])}).context)
    unhold(there.requester, SDXL)
    world.stores["hz"] = MemoryStore()
    fixed = site(world, here.state)
    again = publish(fixed.requester, SDXL, "v1")
    fixed.until(ReleasePhase.PLACING, again.id)
    fixed.settle()
    assert fixed.placements(SDXL, "v1")["hz"].phase is PlacementPhase.WITHDRAWING
    assert not world.stores["hz"].objects
    assert sweep(fixed.context) == 1
    fixed.until(ReleasePhase.LIVE, again.id)


def test_a_target_that_left_the_configuration_is_left_alone(here: Site, world: World) -> None:
    left_alone(here, world)
    assert sweep(site(world, here.state, targets={}).context) == 0


def test_what_the_engine_knows_of_old_attempts_is_forgotten(here: Site, world: World) -> None:
    here.engine.known["r-0/place/targets", 1] = ExecutionStatus.ENDED
    world.time += timedelta(days=30)
    sweep(here.context)
    assert here.engine.known == {}


def test_an_upload_of_a_layer_is_forgotten_when_every_registry_has_cleared_it(here: Site, world: World) -> None:
    notes = SqlUploadJournal(here.state, "registry.local/team/sdxl")
    old, young = Digest("11" * 32), Digest("22" * 32)
    notes.opened(old, "/uploads/1")
    world.time += KEPT - timedelta(hours=1)
    notes.opened(young, "/uploads/2")
    sweep(here.context)
    assert notes.find(old) == "/uploads/1"
    world.time += timedelta(hours=2)
    sweep(here.context)
    assert (notes.find(old), notes.find(young)) == (None, "/uploads/2")
