"""Detection of drift: what changed outside syncd is found, reported with its time, and closed when it is over."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from syncd.errors import Conflict, Failed, Unavailable
from syncd.plan.drift import DriftPolicy
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.context import World as ReadOnlyWorld
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.drift.compare import compare
from syncd.reconcile.drift.scan import DriftRules, scan
from syncd.reconcile.requests.operations import freeze, hold, publish, unfreeze, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.overview import drift_rows
from syncd.runtime.memory import MemoryRuntime
from syncd.state.records import Drift
from syncd.state.serving import drifts
from syncd.values.function import AliasState, Change

from tests.support.rooms import DRAW, LORA, SDXL, Site, World, site

HZ, SG = "draw-hz", "draw-sg"


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def served(here: Site, world: World) -> Site:
    """Two versions were live, one after the other."""
    for name in ("v1", "v2"):
        live_now(here, world, SDXL, name)
    return here


def live_now(here: Site, world: World, model: str, version: str) -> None:
    world.deliver(model, version)
    release = publish(here.requester, model, version)
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE


def move(world: World, region: str, version: str, weights: dict[str, float] | None = None) -> None:
    """Somebody in the console."""
    world.runtimes[region].functions[DRAW].aliases["prod"] = AliasState(version, weights or {})


def edit_latest(world: World, region: str, **environment: str) -> None:
    function = world.runtimes[region].functions[DRAW]
    function.latest = Change(function.latest.mounts, {**function.latest.environment, **environment})


def round_of(there: Site, policy: DriftPolicy = DriftPolicy.REPORT, runtime: str = "singapore") -> list[Drift]:
    scan(there.looker, runtime, DriftRules(policy, there.context.gates), threading.Event(), pause_s=0.0)
    return found(there)


def found(there: Site) -> list[Drift]:
    with there.state.read() as conn:
        return drifts.open_drifts(conn)


def ended(there: Site) -> list[Drift]:
    with there.state.read() as conn:
        return drifts.closed_drifts(conn, 100)


def kinds(there: Site) -> list[str]:
    return [event.kind for event in there.events() if event.kind.startswith("binding.")]


def test_nothing_is_found_where_nothing_was_changed(served: Site) -> None:
    for runtime in ("hangzhou", "singapore"):
        assert round_of(served, runtime=runtime) == []
    assert kinds(served) == []


def test_a_moved_alias_is_told_with_got_want_and_between_which_looks(served: Site, world: World) -> None:
    assert round_of(served) == []
    good_at = world.time
    world.time += timedelta(minutes=5)
    move(world, "singapore", "1")
    (drift,) = round_of(served)
    assert (drift.binding, drift.what, drift.got, drift.want) == (SG, "alias", "1", "2")
    assert good_at - timedelta(seconds=1) < drift.good_at <= good_at
    assert drift.found_at > good_at + timedelta(minutes=4)
    with served.state.read() as conn:
        (row,) = drift_rows(conn, served.context.topology, (SG, HZ))
    assert row["region"] == "singapore"
    assert row["hint"] == (
        "`syncd adopt draw-sg` accepts it into the record, `syncd restore draw-sg` restores what is recorded"
    )
    assert kinds(served) == ["binding.drifted"]


def test_before_the_first_good_look_it_is_told_since_syncd_moved_the_alias(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    (drift,) = round_of(served)
    recorded = served.live(SG)
    assert recorded is not None
    assert drift.good_at == recorded.since


def test_polling_again_tells_it_once(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    (first,) = round_of(served)
    (again,) = round_of(served)
    assert (again.found_at, again.seen_at > first.seen_at) == (first.found_at, True)
    assert kinds(served) == ["binding.drifted"]


def test_drift_that_is_over_by_itself_is_closed_with_its_time(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    (drift,) = round_of(served)
    move(world, "singapore", "2")
    assert round_of(served) == []
    (over,) = ended(served)
    assert over.found_at == drift.found_at
    assert over.closed_at is not None
    assert over.closed == "it is as recorded again"
    assert kinds(served) == ["binding.drifted", "binding.returned"]


def test_an_alias_that_is_moved_on_is_another_drift(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    round_of(served)
    world.runtimes["singapore"].functions[DRAW].aliases.pop("prod")
    (drift,) = round_of(served)
    assert drift.got == "no alias"
    assert [each.closed for each in ended(served)] == ["it became no alias"]


def test_shares_are_told_beside_where_the_alias_points(served: Site, world: World) -> None:
    move(world, "singapore", "2", {"1": 0.1})
    (drift,) = round_of(served)
    assert (drift.what, drift.got, drift.want) == ("weights", "0.1 to 1", "nothing")


def test_what_syncd_staged_of_latest_is_compared_and_nothing_else_of_it(served: Site, world: World) -> None:
    edit_latest(world, "singapore", SDXL_DIGEST="f" * 64, OWNER="ops", SECRET="s3cret")
    (drift,) = round_of(served)
    assert (drift.what, drift.got) == ("variable SDXL_DIGEST", "f" * 64)
    function = world.runtimes["singapore"].functions[DRAW]
    function.latest = Change((), dict(function.latest.environment))
    seen = {each.what: each for each in round_of(served)}
    assert set(seen) == {"variable SDXL_DIGEST", "mount /mnt/sdxl"}
    assert seen["mount /mnt/sdxl"].got == "nothing"
    assert seen["mount /mnt/sdxl"].want.startswith("oss bucket-sg:/models/sdxl/v2-")
    assert "s3cret" not in str([event.detail for event in served.events()])


def test_after_a_rollback_latest_may_be_what_was_staged_last(served: Site) -> None:
    rollback(served.requester, SDXL, "bad eyes")
    served.settle()
    assert round_of(served) == []


def test_a_staging_that_failed_says_nothing_of_latest(served: Site, world: World) -> None:
    class Fails(MemoryRuntime):
        def stage(self, function: str, change: Change, token: str, **_: object) -> object:  # type: ignore[override]
            function_ = self.functions[function]
            function_.latest = change
            raise Failed("the image is too large")

    broken = Fails(world.runtimes["singapore"].answers)
    broken.functions.update(world.runtimes["singapore"].functions)
    there = site(world, served.state, owner="worker-2", runtimes=world.runtimes | {"singapore": broken})
    world.deliver(SDXL, "v3")
    release = publish(there.requester, SDXL, "v3")
    there.settle(patient=True)
    assert there.release(release.id).phase is ReleasePhase.STALLED
    assert round_of(there) == []


def test_a_release_that_holds_the_alias_is_not_told_of(served: Site, world: World) -> None:
    world.deliver(SDXL, "v3")
    release = publish(served.requester, SDXL, "v3")
    served.until(ReleasePhase.FLIPPING, release.id)
    tick(served.context)
    served.run_one()
    assert round_of(served) == round_of(served, runtime="hangzhou") == []


def test_a_release_that_comes_while_the_world_is_looked_at_makes_the_look_worth_nothing(
    served: Site, world: World
) -> None:
    class Slow(MemoryRuntime):
        def read(self, function: str, alias: str) -> AliasState:
            before = super().read(function, alias)
            if not published:
                published.append("v3")
                live_now(served, world, SDXL, "v3")
            return before

    published: list[str] = []
    slow = Slow(world.runtimes["singapore"].answers)
    slow.functions.update(world.runtimes["singapore"].functions)
    assert compare(replace(served.looker, runtimes={"singapore": slow}), served.context.topology.bindings[SG]) == []
    assert published
    assert round_of(served) == []


def test_a_binding_that_syncd_never_moved_is_not_looked_at(here: Site, world: World) -> None:
    world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("7")
    assert round_of(here) == []


class Away(MemoryRuntime):
    """A region that answers nothing."""

    asked = 0

    def read(self, function: str, alias: str) -> AliasState:
        self.asked += 1
        raise Unavailable("no answer")


def away(served: Site, **changes: object) -> tuple[ReadOnlyWorld, Away]:
    many = {f"draw-{n}": replace(served.context.topology.bindings[SG], name=f"draw-{n}") for n in range(9)}
    region = Away()
    topology = replace(served.context.topology, bindings=many)
    with served.state.write() as conn:
        from syncd.state.serving import live

        for name in many:
            live.record(conn, name, "1", {}, None, served.state.now(conn))
    return replace(served.looker, topology=topology, runtimes={"singapore": region}, **changes), region  # type: ignore[arg-type]


def test_a_region_that_is_away_is_not_asked_for_all_of_its_functions(served: Site) -> None:
    looker, region = away(served)
    with pytest.raises(Unavailable):
        scan(looker, "singapore", DriftRules(), threading.Event(), pause_s=0.0)
    assert region.asked == 3
    assert found(served) == [], "nothing is known of it"


def test_a_round_ends_when_the_process_leaves(served: Site) -> None:
    looker, region = away(served)
    told = threading.Event()
    told.set()
    scan(looker, "singapore", DriftRules(), told)
    assert region.asked == 0


# By policy.


def test_by_policy_a_known_version_is_adopted(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    assert round_of(served, DriftPolicy.ADOPT) == []
    recorded = served.live(SG)
    assert recorded is not None
    assert recorded.function_version == "1"
    served.assert_record_is_true()
    adopted = next(event for event in served.events() if event.kind == "binding.adopted")
    assert adopted.detail["who"] == "syncd"


def test_by_policy_an_unknown_version_stays_told(served: Site, world: World) -> None:
    runtime = world.runtimes["singapore"]
    function = runtime.functions[DRAW]
    function.versions["77"] = function.versions["1"]
    move(world, "singapore", "77")
    (drift,) = round_of(served, DriftPolicy.ADOPT)
    assert drift.got == "77"


def test_by_policy_it_is_put_back_but_not_over_a_hold_or_a_freeze(served: Site, world: World) -> None:
    move(world, "singapore", "1", {"2": 0.5})
    hold(served.requester, SDXL, "by hand, for now")
    assert len(round_of(served, DriftPolicy.RESTORE)) == 2
    unhold(served.requester, SDXL)
    freeze(served.requester, None, "audit", None)
    assert len(round_of(served, DriftPolicy.RESTORE)) == 2
    unfreeze(served.requester, None)
    assert round_of(served, DriftPolicy.RESTORE) == []
    assert world.alias("singapore") == AliasState("2")
    served.assert_record_is_true()


def test_an_adopted_version_is_where_the_next_release_begins(served: Site, world: World) -> None:
    move(world, "singapore", "1")
    round_of(served, DriftPolicy.ADOPT)
    live_now(served, world, LORA, "v1")
    live_now(served, world, SDXL, "v3")
    assert round_of(served) == []
    with pytest.raises(Conflict):
        world.runtimes["singapore"].flip(DRAW, "prod", "1", "77")
