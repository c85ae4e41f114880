"""A record that is lost: nothing is released by itself, and the record is rebuilt from functions, seals and holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from syncd.daemon.process import Process
from syncd.daemon.settings import DEFAULT_SLOTS, ProcessSettings
from syncd.engine.memory import MemoryEngine
from syncd.engine.upgrade import create
from syncd.errors import Conflict, NotFound, Unavailable
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.adoption import hold_copies, survey
from syncd.reconcile.adoption.adopt_world import adopt_world
from syncd.reconcile.adoption.hold_copies import HoldCopies
from syncd.reconcile.requests.backfill import backfill
from syncd.reconcile.requests.operations import hold, publish, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.retry import CallPolicy, once
from syncd.state.access import record_info
from syncd.state.releases import events, holds
from syncd.state.state import State
from syncd.store.base import Stat
from syncd.store.memory import MemoryStore

from tests.support.rooms import DRAW, LORA, SDXL, Site, World, look, site


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def lost(world: World, tmp_path: Path) -> Iterator[Callable[[], Site]]:
    """Makes a process over the same world and a record that was created anew, as `syncd db create` does."""
    states: list[State] = []

    def made() -> Site:
        url = f"sqlite:///{tmp_path / f'new-{len(states)}.db'}"
        assert create(url)
        states.append(State(url, now=world.now))
        return site(world, states[-1])

    yield made
    for state in states:
        state.close()


def went_live(here: Site, model: str, version: str) -> None:
    here.world.deliver(model, version)
    publish(here.requester, model, version)
    here.settle()
    assert here.all_releases()[0].phase is ReleasePhase.LIVE


def copy_holds(here: Site) -> None:
    for target in here.context.targets:
        HoldCopies(here.looker, target)()


def reason(here: Site) -> str:
    return survey.why_off(here.state)


def held(here: Site) -> dict[str, str]:
    with here.state.read() as conn:
        return {each.model: each.why for each in holds.all(conn)}


def test_a_first_install_has_automatic_releases(here: Site) -> None:
    assert survey.switch_off_if_used(here.looker) == ""
    here.world.deliver(SDXL, "v1")
    assert [release.ref for release in look(here.context, "models", auto_release=True)] == ["v1"]


def test_a_lost_record_releases_nothing_that_was_held(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    went_live(here, SDXL, "v2")
    rollback(here.requester, SDXL, "v2 paints black images")
    here.settle()
    copy_holds(here)
    new = lost()
    assert "has" in survey.switch_off_if_used(new.looker)
    assert look(new.context, "models", auto_release=True) == []
    assert not backfill(new.context)
    adopted = adopt_world(new.looker, "ops")
    assert adopted.is_whole
    assert held(new) == {SDXL: "v2 paints black images"}
    assert look(new.context, "models", auto_release=True) == []
    new.assert_record_is_true()
    assert new.all_releases()[0].phase is ReleasePhase.LIVE
    assert {p.phase for p in new.placements(SDXL, "v1").values()} == {PlacementPhase.SEALED}
    assert sorted(adopted.placed) == sorted(f"{SDXL}@{v} at {t}" for v in ("v1", "v2") for t in ("hz", "sg"))


def test_what_was_rebuilt_goes_on_as_before(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    went_live(here, LORA, "l1")
    new = lost()
    survey.switch_off_if_used(new.looker)
    adopt_world(new.looker, "ops")
    new.assert_record_is_true()
    went_live(new, SDXL, "v2")
    new.assert_record_is_true()
    rollback(new.requester, SDXL, "back")
    new.settle()
    new.assert_record_is_true()
    assert new.all_releases()[0].rollback
    served = new.live("draw-sg")
    assert served is not None
    assert list(served.models.values()) == [f"{SDXL}@v1#{new.digest(SDXL, 'v1')[:12]}"]


def test_adopting_twice_changes_nothing_more(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    new = lost()
    adopt_world(new.looker, "ops")
    before = len(new.events()), new.all_releases(), new.live("draw-hz")
    again = adopt_world(new.looker, "ops")
    assert (len(new.events()), new.all_releases(), new.live("draw-hz")) == before
    assert again.placed == []
    assert again.live


def test_the_newest_word_on_a_hold_wins_over_any_copy_and_record(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    hold(here.requester, SDXL, "first")
    copy_holds(here)
    old = lost()  # yesterday's copy of the record, with a hold of its own
    adopt_world(old.looker, "ops")
    assert held(old) == {SDXL: "first"}
    here.world.time += timedelta(hours=1)
    unhold(here.requester, SDXL)
    HoldCopies(here.looker, "hz")()  # the other target still has the older copy alone
    assert not hold_copies.read(here.looker, "hz")[SDXL].held
    assert hold_copies.read(here.looker, "sg")[SDXL].held
    adopt_world(old.looker, "ops")
    assert held(old) == {}
    here.world.time += timedelta(hours=1)
    hold(old.requester, SDXL, "newer than every copy")
    adopt_world(old.looker, "ops")
    assert held(old) == {SDXL: "newer than every copy"}


def test_copies_are_written_once_and_older_ones_removed(here: Site) -> None:
    copies = HoldCopies(here.looker, "hz")
    for why in ("one", "two", "three"):
        here.world.time += timedelta(seconds=1)
        hold(here.requester, SDXL, why)
        copies()
        here.world.time += timedelta(seconds=1)
        unhold(here.requester, SDXL)
        copies()
    hold(here.requester, SDXL, "four")
    copies()
    target = here.context.targets["hz"]
    assert len(list(target.notes("holds"))) == 1
    assert hold_copies.read(here.looker, "hz")[SDXL].why == "four"
    copies()
    HoldCopies(here.looker, "hz")()  # after a restart it writes the same again
    assert len(list(target.notes("holds"))) == 1


def test_a_copy_that_is_no_copy_is_left_out(here: Site) -> None:
    hold(here.requester, SDXL, "why")
    copy_holds(here)
    for name, data in {"a.json": b"{", "b.json": b"[]", "c.json": b'{"model": "../x", "held": true}'}.items():
        here.context.targets["hz"].put_note("holds", name, data)
    assert set(hold_copies.read(here.looker, "hz")) == {SDXL}


class Out(MemoryStore):
    """A store that does not answer."""

    def list(self, prefix: str, each: CallPolicy = once) -> Iterator[Stat]:
        raise Unavailable(f"{prefix}: no answer")


def test_a_place_that_does_not_answer_keeps_automatic_releases_off(
    here: Site, lost: Callable[[], Site], world: World
) -> None:
    real = dict(world.stores)
    world.stores["sg"] = Out()
    new = lost()
    assert "target sg could not be asked" in survey.switch_off_if_used(new.looker)
    adopted = adopt_world(new.looker, "ops")
    assert not adopted.is_whole
    assert any("target sg could not be asked" in line for line in adopted.unknown)
    assert reason(new)
    world.stores |= real
    new = site(world, new.state)
    assert adopt_world(new.looker, "ops").is_whole
    assert reason(new) == ""
    here.world.deliver(SDXL, "v1")
    assert look(new.context, "models", auto_release=True)


def test_people_may_publish_while_automatic_releases_are_off(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    new = lost()
    survey.switch_off_if_used(new.looker)
    went_live(new, SDXL, "v2")
    new.assert_record_is_true()


def test_a_release_under_way_is_not_adopted_over(here: Site) -> None:
    here.world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    with pytest.raises(Conflict, match="under way") as refused:
        adopt_world(here.looker, "ops")
    assert "syncd cancel" in refused.value.hint


def test_a_version_without_a_seal_is_named(here: Site, lost: Callable[[], Site], world: World) -> None:
    went_live(here, SDXL, "v1")
    store = world.stores["sg"]
    for key in [key for key in store.objects if "/.syncd/" in key]:
        store.delete(key)
    new = lost()
    adopted = adopt_world(new.looker, "ops")
    assert any(line.startswith("draw:prod in singapore serves sdxl") for line in adopted.unknown)
    assert new.live("draw-sg") is None
    assert new.live("draw-hz") is not None


def test_switching_is_in_the_events(here: Site) -> None:
    with here.state.write() as conn:
        record_info.switch_automatic_off(conn, "a reason", here.state.now(conn))
        assert record_info.automatic_off(conn) == "a reason"
        assert record_info.switch_automatic_on(conn, "ops", here.state.now(conn))
        assert not record_info.switch_automatic_on(conn, "ops", here.state.now(conn))
    with here.state.read() as conn:
        kinds = [event.kind for event in events.after(conn, 0, 100)]
    assert kinds == ["automatic_releases.stopped", "automatic_releases.resumed"]


def test_a_record_restored_from_a_copy_reads_newer_holds_back(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    restored = lost()
    adopt_world(restored.looker, "ops")
    here.world.time += timedelta(hours=1)
    hold(here.requester, SDXL, "since the copy was made")
    copy_holds(here)
    assert held(restored) == {}
    assert hold_copies.read_back(restored.looker) == [SDXL]
    assert held(restored) == {SDXL: "since the copy was made"}
    assert hold_copies.read_back(restored.looker) == []
    here.world.deliver(SDXL, "v2")
    assert look(restored.context, "models", auto_release=True) == []


def test_a_daemon_reads_newer_holds_back_by_itself(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    restored = lost()
    adopt_world(restored.looker, "ops")
    here.world.time += timedelta(hours=1)
    hold(here.requester, SDXL, "since the copy was made")
    copy_holds(here)
    context = replace(restored.context, engine=MemoryEngine())
    settings = ProcessSettings(
        tick_s=0.02, drain_s=10.0, auto_release=False, polls=(), slots=DEFAULT_SLOTS, copies_holds=True
    )
    deadline = time.monotonic() + 30.0
    Process(context, settings, sole=True).run(lambda: bool(held(restored)) or time.monotonic() > deadline)
    assert held(restored) == {SDXL: "since the copy was made"}


def test_a_rollback_after_the_record_was_rebuilt_goes_to_the_version_before(
    here: Site, lost: Callable[[], Site]
) -> None:
    for version in ("v1", "v2", "v3"):
        went_live(here, SDXL, version)
    new = lost()
    survey.switch_off_if_used(new.looker)
    adopted = adopt_world(new.looker, "ops")
    assert adopted.before == [f"{SDXL}@v2: syncd rollback {SDXL} goes there"]
    assert any("whether sdxl@v2 was live everywhere" in line for line in adopted.unknown)
    assert adopt_world(new.looker, "ops").before == [], "a second time there are releases already"
    back = rollback(new.requester, SDXL, "v3 is bad")
    new.settle()
    assert new.release(back.id).phase is ReleasePhase.LIVE
    assert new.release(back.id).ref == "v2"
    new.assert_record_is_true()
    assert {new.world.alias(region).function_version for region in ("hangzhou", "singapore")} == {"2"}, "it is reused"


def test_an_older_function_version_of_somebody_else_is_no_way_back(here: Site, lost: Callable[[], Site]) -> None:
    went_live(here, SDXL, "v1")
    went_live(here, SDXL, "v2")
    for runtime in here.world.runtimes.values():
        published = runtime.functions[DRAW].versions
        published["1"] = replace(published["1"], description="by hand")
    new = lost()
    adopted = adopt_world(new.looker, "ops")
    assert adopted.before == []
    assert any("what was live of sdxl before" in line for line in adopted.unknown)
    with pytest.raises(NotFound, match="no earlier version"):
        rollback(new.requester, SDXL, "bad")
