"""Resolution of drift: adopt and restore, refused where they could do harm, and complete after any crash."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from syncd.errors import Conflict, Failed, Fenced, NotFound, Unavailable
from syncd.plan.binding import Binding
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.reconcile.context import World as ReadOnlyWorld
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.drift import resolve
from syncd.reconcile.drift.compare import compare
from syncd.reconcile.drift.resolve import LEASE_S, Justification, adopt, restore
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.overview import drift_rows
from syncd.runtime.memory import MemoryRuntime
from syncd.state.records import DriftResolution
from syncd.state.serving import drift_resolutions, drifts
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, LORA, SDXL, Site, World
from tests.unit.reconcile.test_compare import HZ, SG, edit_latest, ended, found, live_now, move

WORD = Justification("ann", "it was me")


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def served(here: Site, world: World) -> Site:
    for name in ("v1", "v2"):
        live_now(here, world, SDXL, name)
    return here


def the(there: Site, name: str = SG) -> Binding:
    return there.context.topology.bindings[name]


def going(there: Site) -> list[DriftResolution]:
    with there.state.read() as conn:
        return drift_resolutions.unfinished(conn)


def last_event(there: Site, kind: str) -> dict[str, object]:
    return dict(next(event for event in reversed(there.events()) if event.kind == kind).detail)


# Adopting.


def test_adopting_moves_nothing_and_makes_the_record_true(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    compare(served.looker, the(served))
    (difference,) = adopt(served.looker, the(served), WORD)
    assert (difference.got, difference.want) == ("1", "2")
    served.assert_record_is_true()
    recorded = served.live(SG)
    assert recorded is not None
    assert recorded.models[SDXL].startswith("sdxl@v1#")
    assert [drift.closed for drift in ended(served)] == ["adopted by ann: it was me"]
    assert last_event(served, "binding.adopted") == {"got": "1", "want": "2", "who": "ann", "why": "it was me"}
    assert adopt(served.looker, the(served), WORD) == ()


def test_what_cannot_be_adopted_is_refused_with_what_to_do(served: Site, world: World) -> None:
    function = world.runtimes["singapore"].functions[DRAW]
    function.versions["77"] = function.versions["1"]
    for version, weights, refused in (
        ("77", {}, "function version 77, which syncd did not stage"),
        ("1", {"2": 0.5}, "sends shares to 2"),
    ):
        move(world, "singapore", version, weights)
        with pytest.raises(Conflict, match=refused) as caught:
            adopt(served.looker, the(served), WORD)
        assert "`syncd restore draw-sg`" in caught.value.hint
    function.aliases.pop("prod")
    with pytest.raises(Conflict, match="is gone"):
        adopt(served.looker, the(served), WORD)


def test_what_was_staged_and_never_served_is_not_adopted(served: Site, world: World) -> None:
    world.deliver(SDXL, "v3")
    release = publish(served.requester, SDXL, "v3")
    served.until(ReleasePhase.STAGING, release.id)
    while not any(name.startswith("stage") for name, step in served.steps(release.id).items() if step.ended_at):
        tick(served.context)
        served.run_one()
    from syncd.reconcile.requests.operations import cancel

    cancel(served.requester, release.id, "")
    served.settle()
    staged = max(world.runtimes["hangzhou"].functions[DRAW].versions, key=int)
    move(world, "hangzhou", staged)
    with pytest.raises(Conflict, match="never served"):
        adopt(served.looker, the(served, HZ), WORD)


def test_latest_alone_cannot_be_adopted(served: Site, world: World) -> None:
    edit_latest(world, "singapore", SDXL_DIGEST="f" * 64)
    compare(served.looker, the(served))
    with pytest.raises(Conflict, match="only LATEST differs") as caught:
        adopt(served.looker, the(served), WORD)
    assert "restore draw-sg" in caught.value.hint


@pytest.mark.parametrize("act", [adopt, restore])
def test_neither_is_done_under_a_release(served: Site, world: World, act: object) -> None:
    world.deliver(SDXL, "v3")
    release = publish(served.requester, SDXL, "v3")
    served.until(ReleasePhase.FLIPPING, release.id)
    move(world, "singapore", "1")
    with pytest.raises(Conflict, match=f"{release.id} holds the alias of draw-") as caught:
        act(served.looker, the(served), WORD)  # type: ignore[operator]
    assert f"syncd show {release.id}" in caught.value.hint
    assert world.alias("singapore") == AliasState("1")
    assert going(served) == []


@pytest.mark.parametrize("act", [adopt, restore])
def test_neither_is_done_to_what_syncd_never_moved(here: Site, act: object) -> None:
    with pytest.raises(NotFound, match="never moved"):
        act(here.looker, the(here), WORD)  # type: ignore[operator]


def test_a_name_is_a_binding_or_a_model(here: Site) -> None:
    topology = here.context.topology
    assert [each.name for each in resolve.bindings_named(topology, SG)] == [SG]
    assert [each.name for each in resolve.bindings_named(topology, SDXL)] == [HZ, SG]
    with pytest.raises(NotFound) as caught:
        resolve.bindings_named(topology, "nothing")
    assert caught.value.hint == "bindings: draw-hz, draw-sg"


# Restoring.


def test_restoring_puts_everything_back(served: Site, world: World) -> None:
    move(world, "singapore", "1", {"2": 0.5})
    edit_latest(world, "singapore", SDXL_DIGEST="f" * 64)
    assert [each.what for each in restore(served.looker, the(served), WORD)] == [
        "alias",
        "weights",
        "variable SDXL_DIGEST",
    ]
    served.assert_record_is_true()
    assert compare(served.looker, the(served)) == []
    assert (found(served), going(served)) == ([], [])
    assert {drift.closed for drift in ended(served)} == {"restored by ann: it was me"}
    assert last_event(served, "binding.restoring")["who"] == "ann"
    told = {"who": "ann", "why": "it was me", "what": "alias, variable SDXL_DIGEST, weights"}
    assert last_event(served, "binding.restored") == told
    assert restore(served.looker, the(served), WORD) == ()


def test_a_deleted_alias_is_made_again(served: Site, world: World) -> None:
    world.runtimes["singapore"].functions[DRAW].aliases.pop("prod")
    restore(served.looker, the(served), WORD)
    assert world.alias("singapore") == AliasState("2")


def test_a_function_version_that_is_gone_is_staged_anew(served: Site, world: World) -> None:
    function = world.runtimes["singapore"].functions[DRAW]
    function.versions.pop("2")
    (new,) = compare(served.looker, the(served))
    assert (new.what, new.got, new.want) == ("function version", "deleted", "2")
    with pytest.raises(Conflict, match="function version 2, which is deleted"):
        adopt(served.looker, the(served), WORD)
    restore(served.looker, the(served), WORD)
    assert world.alias("singapore") == AliasState("3")
    assert compare(served.looker, the(served)) == []
    served.assert_record_is_true()
    assert going(served) == []
    rollback(served.requester, SDXL, "bad eyes")
    served.settle()
    assert world.alias("singapore") == AliasState("1")
    served.assert_record_is_true()


def test_a_restore_that_staged_anew_and_broke_off_is_gone_on_with(served: Site, world: World) -> None:
    runtime = world.runtimes["singapore"]
    runtime.functions[DRAW].versions.pop("2")
    right = runtime.flip

    def lost(*given: object) -> AliasState:
        runtime.flip = right  # type: ignore[method-assign]
        right(*given)  # type: ignore[arg-type]
        raise Unavailable("no answer")

    runtime.flip = lost  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable):
        restore(served.looker, the(served), WORD)
    world.time += timedelta(seconds=LEASE_S + 1)
    resolve.resume(served.looker, "singapore")
    assert world.alias("singapore") == AliasState("3")
    assert set(runtime.functions[DRAW].versions) == {"1", "3"}
    served.assert_record_is_true()


def test_what_does_not_answer_with_its_digest_any_more_is_not_put_back(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    store = world.stores["sg"].objects
    for key in [key for key in store if "/v2-" in key]:
        del store[key]
    with pytest.raises(Failed, match="without the digest"):
        restore(served.looker, the(served), WORD)
    assert world.alias("singapore") == AliasState("1")
    assert going(served) == []
    assert "without the digest" in str(last_event(served, "binding.unrestored")["reason"])


def test_an_alias_that_others_made_is_not_deleted(served: Site, world: World) -> None:
    from syncd.state.serving import live

    with served.state.write() as conn:
        live.record(conn, SG, None, {}, None, served.state.now(conn))
    with pytest.raises(Conflict, match="expected no alias as recorded"):
        restore(served.looker, the(served), WORD)
    assert world.alias("singapore") == AliasState("2")


@dataclass
class Breaking(MemoryRuntime):
    """A region whose flips lose their effect or their answer, or whose alias somebody moves in between."""

    real: MemoryRuntime
    fails: list[str] = field(default_factory=list)  # "before", "after" or a function version

    def __post_init__(self) -> None:
        super().__init__(self.real.answers)
        self.functions = self.real.functions  # type: ignore[misc]

    def flip(self, function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        fault = self.fails.pop(0) if self.fails else ""
        if fault == "before":
            raise Unavailable("cut off")
        if fault.isdecimal():
            self.functions[function].aliases[alias] = AliasState(fault)
        state = super().flip(function, alias, to, expect)
        if fault == "after":
            raise Unavailable("the answer is lost")
        return state


def with_faults(served: Site, world: World, *fails: str) -> ReadOnlyWorld:
    broken = Breaking(world.runtimes["singapore"], list(fails))
    return replace(served.looker, runtimes=world.runtimes | {"singapore": broken})


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_restore_whose_outcome_is_unknown_is_gone_on_with(served: Site, world: World, fault: str) -> None:
    move(world, "singapore", "1")
    with pytest.raises(Unavailable):
        restore(with_faults(served, world, fault), the(served), WORD)
    assert [each.subject for each in going(served)] == [SG]
    with served.state.read() as conn:
        assert [row["restoring"] for row in drift_rows(conn, served.context.topology, (SG,))] == ["ann: it was me"]
    resolve.resume(served.looker, "singapore")
    assert going(served), "its lease is not over: whoever began it may still be at it"
    with pytest.raises(Conflict, match="being restored by ann"):
        restore(served.looker, the(served), Justification("bob", ""))
    world.time += timedelta(seconds=LEASE_S + 1)
    resolve.resume(served.looker, "hangzhou")
    assert going(served), "another region's"
    resolve.resume(served.looker, "singapore")
    assert going(served) == []
    served.assert_record_is_true()
    assert last_event(served, "binding.restored")["who"] == "ann"


def test_a_restore_that_broke_off_is_gone_on_with_by_asking_again(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    with pytest.raises(Unavailable):
        restore(with_faults(served, world, "before"), the(served), WORD)
    world.time += timedelta(seconds=LEASE_S + 1)
    restore(served.looker, the(served), Justification("bob", ""))
    assert going(served) == []
    assert world.alias("singapore") == AliasState("2")


def test_who_was_cut_off_writes_nothing_when_it_comes_back(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    with pytest.raises(Unavailable):
        restore(with_faults(served, world, "before"), the(served), WORD)
    (stale,) = going(served)
    world.time += timedelta(seconds=LEASE_S + 1)
    resolve.resume(served.looker, "singapore")
    told = len(served.events())
    with pytest.raises(Fenced):
        resolve.execute(served.looker, the(served), stale)
    assert len(served.events()) == told


def test_an_alias_that_somebody_moves_meanwhile_is_not_moved_back_over_another_change(
    served: Site, world: World
) -> None:
    live_now(served, world, SDXL, "v3")
    move(world, "singapore", "1")
    with pytest.raises(Conflict, match="points at 2"):
        restore(with_faults(served, world, "2"), the(served), WORD)
    assert world.alias("singapore") == AliasState("2")
    assert going(served) == []
    assert "points at 2" in str(last_event(served, "binding.unrestored")["reason"])


def test_a_release_waits_for_a_restore_and_says_so(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    with pytest.raises(Unavailable):
        restore(with_faults(served, world, "before"), the(served), WORD)
    world.deliver(SDXL, "v3")
    release = publish(served.requester, SDXL, "v3")
    served.settle()
    waiting = served.release(release.id)
    assert (waiting.phase, served.flips(release.id)) == (ReleasePhase.STAGING, {})
    assert "waits for the restore of draw-sg by ann" in waiting.reason
    world.time += timedelta(seconds=LEASE_S + 1)
    resolve.resume(served.looker, "singapore")
    served.settle()
    assert served.release(release.id).phase is ReleasePhase.LIVE
    served.assert_record_is_true()


def test_bindings_of_one_function_are_put_back_one_after_the_other(served: Site) -> None:
    """They share LATEST."""
    with served.state.write() as conn:
        now = served.state.now(conn)
        drift_resolutions.begin(conn, HZ, [HZ, SG], who="ann", why="", expects="1", lease_s=60.0, now=now)
    with served.state.write() as conn, pytest.raises(Conflict, match="draw-hz is being restored by ann"):
        drift_resolutions.begin(conn, SG, [SG, HZ], who="bob", why="", expects="1", lease_s=60.0, now=now)


def test_after_a_restore_a_rollback_goes_where_it_would_have_gone(served: Site, world: World) -> None:
    live_now(served, world, LORA, "v1")
    move(world, "singapore", "1")
    restore(served.looker, the(served), WORD)
    rollback(served.requester, SDXL, "")
    served.settle()
    assert world.serves("singapore") == [served.digest(SDXL, "v1")]
    served.assert_record_is_true()
    with served.state.read() as conn:
        assert drifts.open_drifts(conn) == []


# An undo that a person is in the way of.


def stuck_undo(served: Site, world: World) -> str:
    """`r-3` moved the alias in one region to 3 and is taken back; meanwhile somebody has moved it to 1."""
    world.deliver(SDXL, "v3")
    release = publish(served.requester, SDXL, "v3").id
    served.until(ReleasePhase.FLIPPING, release)
    tick(served.context)
    while served.flips(release)[SG].phase is not FlipPhase.FLIPPED:
        served.run_one()
    rollback(served.requester, SDXL, "bad eyes")
    move(world, "singapore", "1")
    served.settle()
    return release


def test_an_undo_does_not_move_an_alias_over_somebodys_head_and_ends_when_he_says_so(
    served: Site, world: World
) -> None:
    release = stuck_undo(served, world)
    assert world.alias("singapore") == AliasState("1")
    assert served.release(release).phase is ReleasePhase.UNDOING
    assert "points at 1, expected 3" in served.steps(release)[f"undo/{SG}"].reason
    adopt(served.looker, the(served), WORD)
    served.settle(patient=True)
    assert served.release(release).phase is ReleasePhase.UNDONE
    assert {flip.phase for flip in served.flips(release).values()} <= {FlipPhase.UNDONE, FlipPhase.ABANDONED}
    assert served.flips(release)[SG].reason == "left where it is by ann: it was me"
    assert world.alias("singapore") == AliasState("1")
    served.assert_record_is_true()


@pytest.mark.parametrize("weights", [{}, {"2": 0.3}], ids=["whole", "with a share"])
def test_an_undo_that_others_block_goes_on_after_restore(served: Site, world: World, weights: dict[str, float]) -> None:
    release = stuck_undo(served, world)
    with world.runtimes["singapore"].lock:
        world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("1", weights)
    served.settle()
    assert served.release(release).phase is ReleasePhase.UNDOING
    assert "`syncd restore BINDING`" in served.steps(release)[f"undo/{SG}"].hint
    (found, *_) = restore(served.looker, the(served), WORD)
    assert (found.what, found.want) == ("alias", "2")
    served.settle(patient=True)
    assert served.release(release).phase is ReleasePhase.UNDONE
    assert served.flips(release)[SG].phase is FlipPhase.UNDONE
    assert world.alias("singapore") == AliasState("2")
    served.assert_record_is_true()


def test_an_undo_that_only_waits_for_its_turn_is_not_adopted_away(served: Site, world: World) -> None:
    release = stuck_undo(served, world)
    move(world, "singapore", "3")
    with pytest.raises(Conflict, match=f"{release} holds"):
        adopt(served.looker, the(served), WORD)
    served.settle(patient=True)
    assert served.release(release).phase is ReleasePhase.UNDONE
    assert world.alias("singapore") == AliasState("2")
    served.assert_record_is_true()
