"""Retention rules at work: marks, the grace period, and retirements that ask the record and the cloud again."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from syncd.errors import Conflict, NotFound, Unavailable
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.plan.retention import RetentionPolicy, RetentionRule
from syncd.reconcile.gc import retention
from syncd.reconcile.gc.retention import PassResult
from syncd.reconcile.requests.operations import freeze, hold, publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.runtime.memory import MemoryRuntime, Published
from syncd.state.content import versions
from syncd.state.records import Version
from syncd.state.releases import holds, leases
from syncd.targets.versioned_tree import TreeTarget
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, SDXL, Site, World
from tests.support.snapshots import live
from tests.unit.reconcile.test_compare import move
from tests.unit.reconcile.test_retire import function_versions, keys

GRACE_S = 3600.0
RULES = RetentionPolicy((RetentionRule(("*",), keep=1),), GRACE_S)


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def served(here: Site) -> Site:
    """Versions v1, v2 and v3 were live, v3 is: a rollback returns to v2, so that v1 alone is free."""
    live(here, "v1", "v2", "v3")
    here.context = replace(here.context, retention=RULES)
    return here


def a_pass(there: Site, **changes: object) -> PassResult:
    world = replace(there.looker, **changes)  # type: ignore[arg-type]
    return retention.run(world, retention.models_of(world, None), "ann", threading.Event())


def later(world: World, seconds: float = GRACE_S + 1) -> None:
    world.time += timedelta(seconds=seconds)


def version(there: Site, name: str) -> Version:
    with there.state.read() as conn:
        found = versions.find(conn, SDXL, name)
    assert found is not None
    return found


def whys(there: Site) -> dict[str, str]:
    return {e.version.name: "; ".join(e.decision.reasons) for e in retention.outlook(there.looker, SDXL)}


def kinds(there: Site) -> list[str]:
    told = {"version.marked", "version.unmarked", "version.retiring", "version.retired"}
    return [each.kind for each in there.events() if each.kind in told]


def test_without_a_rule_nothing_is_done(served: Site, world: World) -> None:
    done = a_pass(served, retention=RetentionPolicy())
    assert (done.run, done.marked, done.deleted) == ("", (), ())
    assert keys(world, "v1")


def test_a_version_is_marked_keeps_every_byte_for_the_grace_period_and_goes(served: Site, world: World) -> None:
    before = keys(world, "v1")
    done = a_pass(served)
    assert ([each.version.name for each in done.marked], done.run) == (["v1"], "gc-1")
    later(world, GRACE_S - 60)
    assert a_pass(served) == PassResult("", (), (), (), ())
    assert keys(world, "v1") == before
    assert function_versions(world) == {"1", "2", "3"}
    assert {p.phase for p in served.placements(SDXL, "v1").values()} == {PlacementPhase.SEALED}
    later(world)
    assert [each.name for each in a_pass(served).deleted] == ["v1"]
    assert keys(world, "v1") == []
    assert function_versions(world) == {"2", "3"}
    assert kinds(served) == ["version.marked", "version.retiring", "version.retired"]
    served.assert_record_is_true()
    later(world)
    assert a_pass(served) == PassResult("", (), (), (), ())


def test_the_plan_says_why_and_changes_nothing(served: Site, world: World) -> None:
    reasons = whys(served)
    assert reasons["v1"].startswith("a newer version is kept, and it was last used on 2026-03-01")
    assert reasons["v2"] == "a rollback returns to it (r-2)"
    assert "binding draw-hz serves it" in reasons["v3"]
    assert "draw:prod in singapore leads to it" in reasons["v3"]
    assert kinds(served) == []
    assert keys(world, "v1")


@pytest.mark.parametrize("what", ["sdxl@v1", "gc-1"])
def test_an_undone_removal_is_not_marked_again(served: Site, world: World, what: str) -> None:
    a_pass(served)
    assert [each.name for each in retention.undo(served.looker, what, "ann@desk")] == ["v1"]
    later(world)
    assert a_pass(served) == PassResult("", (), (), (), ())
    assert whys(served)["v1"] == "ann@desk undid its removal"
    assert keys(world, "v1")
    assert kinds(served) == ["version.marked", "version.unmarked"]
    with pytest.raises(NotFound if what == "gc-1" else Conflict, match=r"no version is marked|is not marked"):
        retention.undo(served.looker, what, "ann@desk")


def test_what_is_gone_or_was_never_there_cannot_be_undone(served: Site, world: World) -> None:
    for what in ("sdxl@v9", "gc-9"):
        with pytest.raises(NotFound):
            retention.undo(served.looker, what, "ann")
    a_pass(served)
    later(world)
    a_pass(served)
    with pytest.raises(Conflict, match="sdxl@v1 was deleted") as caught:
        retention.undo(served.looker, "sdxl@v1", "ann")
    assert "syncd publish sdxl@v1" in caught.value.hint


def test_what_is_released_in_the_grace_period_stays(served: Site, world: World) -> None:
    a_pass(served)
    again = publish(served.requester, SDXL, "v1")
    later(world)
    assert a_pass(served).postponed == ((version(served, "v1"), f"{again.id} is under way with it"),)
    served.settle()
    assert served.release(again.id).phase is ReleasePhase.LIVE
    a_pass(served)
    assert keys(world, "v1")
    served.assert_record_is_true()


def _held(there: Site, _world: World) -> str:
    hold(there.requester, SDXL, "wait")
    return "sdxl is on hold by ops: wait"


def _frozen(there: Site, _world: World) -> str:
    freeze(there.requester, None, "quarter's end", None)
    return "every model is frozen by ops: quarter's end"


def _leased(there: Site, world: World) -> str:
    mine = version(there, "v1")
    with there.state.write() as conn:
        leases.put(conn, "train-9", mine, "trainer", world.time + timedelta(days=1), there.state.now(conn))
    return "train-9 has a lease on it"


def _moved_by_hand(_there: Site, world: World) -> str:
    move(world, "singapore", "3", {"1": 0.1})
    return "draw:prod in singapore leads to it"


def _published_by_hand(_there: Site, world: World) -> str:
    function = world.runtimes["hangzhou"].functions[DRAW]
    function.versions["9"] = Published(function.versions["1"].change, "by hand")
    return "draw:9 in hangzhou, which syncd did not stage, leads to it"


@pytest.mark.parametrize("need", [_held, _frozen, _leased, _moved_by_hand, _published_by_hand])
def test_what_is_needed_when_the_grace_period_ends_stays(served: Site, world: World, need: object) -> None:
    a_pass(served)
    before = keys(world, "v1")
    why = need(served, world)  # type: ignore[operator]
    later(world)
    assert a_pass(served).postponed == ((version(served, "v1"), why),)
    assert keys(world, "v1") == before
    assert function_versions(world) == {"1", "2", "3"}
    assert {p.phase for p in served.placements(SDXL, "v1").values()} == {PlacementPhase.SEALED}


def test_a_lease_that_ran_out_frees_the_version(served: Site, world: World) -> None:
    _leased(served, world)
    assert a_pass(served).marked == ()
    later(world, 2 * 86400)
    assert [each.version.name for each in a_pass(served).marked] == ["v1"]


class Silent(MemoryRuntime):
    """A region whose aliases cannot be read."""

    def read(self, function: str, alias: str) -> AliasState:
        raise Unavailable(f"no answer about {function}:{alias}")


def test_where_a_region_does_not_answer_nothing_is_marked_or_deleted(served: Site, world: World) -> None:
    silent = Silent(world.runtimes["singapore"].answers)
    assert a_pass(served, runtimes=world.runtimes | {"singapore": silent}).marked == ()
    a_pass(served)
    later(world)
    done = a_pass(served, runtimes=world.runtimes | {"singapore": silent})
    assert (done.deleted, done.unmarked) == ((), ())
    assert "draw in singapore could not be read: no answer" in done.postponed[0][1]
    assert keys(world, "v1")
    assert [each.name for each in a_pass(served).deleted] == ["v1"], "the mark stayed"


class Stuck(TreeTarget):
    """A target that removes nothing."""

    def withdraw(self, *_: object) -> None:
        raise Unavailable("cut off")


def test_a_deletion_that_broke_off_is_gone_on_with(served: Site, world: World) -> None:
    a_pass(served)
    later(world)
    done = a_pass(served, targets={**served.context.targets, "hz": Stuck("hz", world.stores["hz"])})
    assert (done.deleted, done.postponed[0][1]) == ((), "cut off")
    assert served.placements(SDXL, "v1")["hz"].phase is PlacementPhase.WITHDRAWING
    a_pass(served)
    assert keys(world, "v1") == []
    assert kinds(served)[-1] == "version.retired"


def test_a_candidate_left_behind_does_not_keep_a_failed_version(served: Site, world: World) -> None:
    world.deliver(SDXL, "v4")
    failed = publish(served.requester, SDXL, "v4")
    served.until(ReleasePhase.FLIPPING, failed.id)
    rollback(served.requester, SDXL, "no")
    served.settle()
    world.deliver(SDXL, "v5")
    with served.state.write() as conn:
        holds.lift(conn, SDXL, "ops", served.state.now(conn))
    again = publish(served.requester, SDXL, "v5")
    served.settle()
    assert served.release(again.id).phase is ReleasePhase.LIVE
    assert "v4" in [each.version.name for each in a_pass(served).marked]
    later(world)
    a_pass(served)
    assert keys(world, "v4") == []
    served.assert_record_is_true()


def test_a_model_that_no_binding_serves_is_refused(served: Site) -> None:
    with pytest.raises(NotFound, match="no binding serves the model other"):
        retention.models_of(served.looker, "other")
