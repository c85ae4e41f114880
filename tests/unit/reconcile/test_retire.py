"""Retirement: never of a version in use, and complete after any crash."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from syncd.artifact.manifest import SEAL_PATH
from syncd.errors import Conflict, NotFound, Unavailable
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.drift.resolve import Justification
from syncd.reconcile.gc import retire as retiring
from syncd.reconcile.gc.retire import retire
from syncd.reconcile.requests.operations import hold, publish, unhold, unquarantine
from syncd.reconcile.requests.rollbacks import rollback
from syncd.runtime.memory import MemoryRuntime
from syncd.state.content import versions
from syncd.state.releases import retirements
from syncd.targets.versioned_tree import TreeTarget
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, LORA, SDXL, Site, World, look
from tests.unit.reconcile.test_compare import live_now, move

WORD = Justification("ann", "license withdrawn")


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def served(here: Site, world: World) -> Site:
    for name in ("v1", "v2", "v3"):
        live_now(here, world, SDXL, name)
    return here


def keys(world: World, version: str) -> list[str]:
    return [key for store in world.stores.values() for key in store.objects if f"/{version}-" in key]


def function_versions(world: World, region: str = "singapore") -> set[str]:
    return set(world.runtimes[region].functions[DRAW].versions)


def kinds(there: Site) -> list[str]:
    with there.state.read() as conn:
        known = versions.find(conn, SDXL, "v1")
    assert known is not None
    return [e.kind for e in there.events() if e.kind.startswith("version.") and e.subject == "sdxl@v1"]


def test_its_function_versions_and_bytes_are_gone_and_the_record_stays(served: Site, world: World) -> None:
    done = retire(served.looker, SDXL, "v1", WORD)
    assert set(done.function_versions) == {"draw:1 in hangzhou", "draw:1 in singapore"}
    assert (set(done.targets), done.left) == ({"hz", "sg"}, ())
    assert function_versions(world) == function_versions(world, "hangzhou") == {"2", "3"}
    assert keys(world, "v1") == []
    assert {p.phase for p in served.placements(SDXL, "v1").values()} == {PlacementPhase.WITHDRAWN}
    assert kinds(served) == ["version.recorded", "version.retiring", "version.retired"]
    served.assert_record_is_true()
    with served.state.read() as conn:
        known = versions.find(conn, SDXL, "v1")
        assert known is not None
        asked = retirements.find(conn, known.id)
    assert asked is not None
    assert (asked.who, asked.why, asked.done_at is None) == ("ann", "license withdrawn", False)


def test_repeating_it_is_success(served: Site, world: World) -> None:
    retire(served.looker, SDXL, "v1", WORD)
    assert retire(served.looker, SDXL, "v1", WORD).targets == ()
    assert function_versions(world) == {"2", "3"}


def test_a_retired_version_can_be_published_again(served: Site, world: World) -> None:
    retire(served.looker, SDXL, "v1", WORD)
    again = publish(served.requester, SDXL, "v1")
    served.settle()
    assert served.release(again.id).phase is ReleasePhase.LIVE
    served.assert_record_is_true()
    live_now(served, world, SDXL, "v4")
    live_now(served, world, SDXL, "v5")
    retire(served.looker, SDXL, "v1", WORD)
    assert keys(world, "v1") == []


@pytest.mark.parametrize(
    ("version", "why"), [("v3", "is live: binding draw-"), ("v2", "what a rollback of sdxl returns to")]
)
def test_what_serves_and_what_a_rollback_needs_is_kept(served: Site, world: World, version: str, why: str) -> None:
    before = (function_versions(world), len(keys(world, version)))
    with pytest.raises(Conflict, match=why) as caught:
        retire(served.looker, SDXL, version, WORD)
    assert caught.value.hint
    assert (function_versions(world), len(keys(world, version))) == before


def test_what_is_in_flight_is_kept(served: Site, world: World) -> None:
    again = publish(served.requester, SDXL, "v1")
    with pytest.raises(Conflict, match=f"in flight: {again.id}"):
        retire(served.looker, SDXL, "v1", WORD)
    served.until(ReleasePhase.STAGING, again.id)
    with pytest.raises(Conflict, match=f"in flight: {again.id}"):
        retire(served.looker, SDXL, "v1", WORD)
    assert function_versions(world) == {"1", "2", "3"}


def test_a_version_that_is_held_at_is_live_and_kept_and_the_bad_one_may_go(served: Site, world: World) -> None:
    rollback(served.requester, SDXL, "bad eyes")
    served.settle()
    with pytest.raises(Conflict, match="is live"):
        retire(served.looker, SDXL, "v2", WORD)
    retire(served.looker, SDXL, "v3", WORD)
    assert keys(world, "v3") == []
    served.assert_record_is_true()


def test_the_candidate_is_moved_off_a_version_that_was_only_probed(served: Site, world: World) -> None:
    """A release that stalled leaves its candidate behind."""
    world.deliver(SDXL, "v4")
    stalled = publish(served.requester, SDXL, "v4")
    served.until(ReleasePhase.FLIPPING, stalled.id)
    rollback(served.requester, SDXL, "no")
    served.settle()
    assert world.alias("singapore", "next") == AliasState("4")
    retire(served.looker, SDXL, "v4", WORD)
    assert world.alias("singapore", "next") == AliasState("3")
    assert function_versions(world) == {"1", "2", "3"}


def test_an_alias_that_was_moved_there_by_hand_keeps_the_version(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    with pytest.raises(Conflict, match="prod points at version 1"):
        retire(served.looker, SDXL, "v1", WORD)
    assert keys(world, "v1")
    assert {p.phase for p in served.placements(SDXL, "v1").values()} == {PlacementPhase.SEALED}
    assert kinds(served)[-1] == "version.kept"
    move(world, "singapore", "3")
    retire(served.looker, SDXL, "v1", WORD)
    assert keys(world, "v1") == []


def test_under_a_release_of_another_model_it_waits(served: Site, world: World) -> None:
    world.deliver(LORA, "v1")
    other = publish(served.requester, LORA, "v1")
    served.until(ReleasePhase.FLIPPING, other.id)
    with pytest.raises(Conflict, match=f"{other.id} (holds the alias|may go back)"):
        retire(served.looker, SDXL, "v1", WORD)
    served.settle()
    retire(served.looker, SDXL, "v1", WORD)
    served.assert_record_is_true()


class Away(MemoryRuntime):
    """A region that deletes nothing."""

    def retire(self, function: str, function_version: str) -> None:
        raise Unavailable(f"no answer about {function}:{function_version}")


class Stuck(TreeTarget):
    """A target that removes nothing."""

    def withdraw(self, *_: object) -> None:
        raise Unavailable("cut off")


@pytest.mark.parametrize("where", ["runtime", "target"])
def test_what_broke_off_is_gone_on_with(served: Site, world: World, where: str) -> None:
    away = Away(world.runtimes["singapore"].answers)
    away.functions.update(world.runtimes["singapore"].functions)
    if where == "runtime":
        broken = replace(served.looker, runtimes=world.runtimes | {"singapore": away})
    else:
        broken = replace(served.looker, targets={"hz": Stuck("hz", world.stores["hz"])})
    with pytest.raises(Unavailable):
        retire(broken, SDXL, "v1", WORD)
    phases = {p.phase for p in served.placements(SDXL, "v1").values()}
    assert phases == ({PlacementPhase.SEALED} if where == "runtime" else {PlacementPhase.WITHDRAWING})
    retiring.resume(broken, threading.Event())
    assert kinds(served)[-1] == "version.retiring"
    retiring.resume(served.looker, threading.Event())
    assert kinds(served)[-1] == "version.retired"
    assert keys(world, "v1") == []
    assert function_versions(world) == {"2", "3"}
    reported = len(served.events())
    retiring.resume(served.looker, threading.Event())
    assert len(served.events()) == reported


def test_a_release_that_comes_before_the_bytes_are_marked_keeps_the_version(served: Site, world: World) -> None:
    class Late(MemoryRuntime):
        def retire(self, function: str, function_version: str) -> None:
            super().retire(function, function_version)
            if not asked:
                asked.append(publish(served.requester, SDXL, "v1").id)

    asked: list[str] = []
    late = Late(world.runtimes["hangzhou"].answers)
    late.functions.update(world.runtimes["hangzhou"].functions)
    with pytest.raises(Conflict, match="in flight"):
        retire(replace(served.looker, runtimes=world.runtimes | {"hangzhou": late}), SDXL, "v1", WORD)
    served.settle()
    assert served.release(asked[0]).phase is ReleasePhase.LIVE
    served.assert_record_is_true()
    assert [key for key in keys(world, "v1") if key.endswith(SEAL_PATH)]


def test_what_is_no_longer_configured_is_told_as_left(served: Site) -> None:
    topology = served.context.topology
    bindings = {name: binding for name, binding in topology.bindings.items() if name != "draw-sg"}
    shrunk = replace(
        served.looker,
        topology=replace(topology, bindings=bindings),
        targets={"hz": served.context.targets["hz"]},
    )
    done = retire(shrunk, SDXL, "v1", WORD)
    assert done.left == ("function version 1 of draw-sg", "the bytes at sg")
    assert done.targets == ("hz",)


def test_a_function_that_is_gone_has_no_versions_to_retire(served: Site, world: World) -> None:
    world.runtimes["singapore"].functions.pop(DRAW)
    retire(served.looker, SDXL, "v1", WORD)
    assert keys(world, "v1") == []


def test_a_version_that_nobody_knows_is_said_so(served: Site) -> None:
    with pytest.raises(NotFound, match="no version sdxl@v9"):
        retire(served.looker, SDXL, "v9", WORD)
    with pytest.raises(NotFound, match="no version sdxl@v9"):
        unquarantine(served.requester, SDXL, "v9", "")


def test_a_quarantine_is_lifted_once_the_old_bytes_are_there_again_and_not_before(here: Site, world: World) -> None:
    live_now(here, world, SDXL, "v1")
    world.change(SDXL, "v1", "other bytes")
    look(here.context, "models", auto_release=True)
    with pytest.raises(Conflict, match="quarantined") as caught:
        publish(here.requester, SDXL, "v1")
    assert "syncd unquarantine" in caught.value.hint
    assert unquarantine(here.requester, SDXL, "v1", "restored")
    look(here.context, "models", auto_release=True)
    with pytest.raises(Conflict, match="quarantined"):
        publish(here.requester, SDXL, "v1")
    world.change(SDXL, "v1", "")
    assert unquarantine(here.requester, SDXL, "v1", "restored")
    assert not unquarantine(here.requester, SDXL, "v1", "restored")
    look(here.context, "models", auto_release=True)
    hold(here.requester, SDXL, "x")
    unhold(here.requester, SDXL)
    again = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(again.id).phase is ReleasePhase.LIVE
    reported = [event for event in here.events() if event.kind == "version.unquarantined"]
    assert [event.detail["why"] for event in reported] == ["restored", "restored"]
    assert "other bytes" in str(reported[0].detail["was"]) or "digest" in str(reported[0].detail["was"])
