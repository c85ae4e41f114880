"""The overview, the list of models and a settled pass cost a number of statements that does not grow with the fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from syncd.plan.binding import Binding, BoundModel, MountMode
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.views import overview
from syncd.state.releases import releases
from syncd.state.releases.events import advance
from syncd.state.serving import flips, live
from syncd.state.state import State

from tests.unit.state.making import NOON, go, make_release, make_step, make_version

REGIONS = 3


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement on the record inside the block."""
    told: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        told.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def binding(model: int, region: int) -> Binding:
    bound = BoundModel(f"m{model}", f"t{region}", MountMode.VERSION, "/mnt/m")
    return Binding(f"m{model}-r{region}", f"r{region}", f"f{model}", "prod", "next", (bound,))


def fleet(models: int) -> Topology:
    made = [binding(model, region) for model in range(models) for region in range(REGIONS)]
    places = {f"{kind}{region}": f"region-{region}" for kind in "tr" for region in range(REGIONS)}
    return Topology({each.name: each for each in made}, {}, places, {"all": ("*",)})


@pytest.fixture
def state(database_url: str) -> Iterator[State]:
    opened = State(database_url)
    yield opened
    opened.close()


def serve(state: State, first: int, last: int) -> None:
    """Of these models: one of five stalled, one of five staging, one with a release in its regions, the others live."""
    with state.write() as conn:
        for number in range(first, last):
            model = f"m{number}"
            version = make_version(conn, model, content=f"{number % 10}")
            release = releases.pin(conn, make_release(conn, model), version.id, NOON)
            for region in range(REGIONS):
                live.record(conn, f"{model}-r{region}", "1", {model: version.id}, release.id, NOON)
            if number % 5 == 0:
                go(conn, release, ReleasePhase.PLACING, ReleasePhase.STALLED)
            elif number % 5 == 1:
                make_step(conn, "t0", go(conn, release, ReleasePhase.PLACING))
            elif number % 5 == 2:
                flips.claim(conn, release, [f"{model}-r{region}" for region in range(REGIONS)], NOON)
                go(conn, release, ReleasePhase.PLACING, ReleasePhase.STAGING, ReleasePhase.FLIPPING)


def count(call: Callable[[], object]) -> int:
    with statements() as told:
        call()
    return len(told)


def test_an_overview_reads_as_many_statements_for_a_hundred_models_as_for_ten(state: State) -> None:
    serve(state, 0, 10)
    few = count(lambda: overview.overview(state, fleet(10)))
    few_models = count(lambda: overview.models(state, fleet(10)))
    serve(state, 10, 100)
    assert count(lambda: overview.overview(state, fleet(100))) == few <= 30
    assert count(lambda: overview.models(state, fleet(100))) == few_models <= 10
    assert count(lambda: overview.overview(state, fleet(100), "m7")) <= few


def test_an_overview_of_one_model_has_the_rows_that_the_overview_of_all_has_for_it(state: State) -> None:
    serve(state, 0, 10)
    whole = overview.overview(state, fleet(10))
    for name in ("m0", "m1", "m2", "m3"):
        alone = overview.overview(state, fleet(10), name)
        for key in ("live", "in_flight", "stalled"):
            rows = whole[key]
            assert isinstance(rows, list)
            assert alone[key] == [row for row in rows if row["model"] == name]


def test_what_left_a_region_behind_is_found_until_a_newer_release_of_its_model(state: State) -> None:
    with state.write() as conn:
        version = make_version(conn)
        release = releases.pin(conn, make_release(conn), version.id, NOON)
        release = go(conn, release, ReleasePhase.PLACING, ReleasePhase.STAGING)
        flips.claim(conn, release, ["one", "two"], NOON)
        releases.note_left_behind(conn, release)
        assert releases.live_with_abandoned(conn) == []
        advance(conn, flips.get(conn, release.id, "two"), FlipPhase.ABANDONED, now=NOON)
        release = go(conn, release, ReleasePhase.FLIPPING, ReleasePhase.LIVE)
        releases.note_left_behind(conn, release)
        assert releases.live_with_abandoned(conn) == [release]
        make_release(conn)
        assert releases.live_with_abandoned(conn) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_pass_over_a_settled_record_scans_no_table(state: State) -> None:
    with state.read() as conn, statements() as told:
        releases.unfinished(conn)
        releases.unfinished(conn, "m1")
        releases.live_with_abandoned(conn)
        flips.holder(conn, "one")
        flips.held_by_others(conn, "r-1", ["one"])
    with state.read() as conn:
        for query in [each for each in told if each.startswith("SELECT")]:
            parameters = ("x",) * query.count("?")
            plan = [row.detail for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters)]
            scans = [
                step for step in plan if step.startswith("SCAN") and "USING INDEX ix_releases_unfinished" not in step
            ]
            assert [step for step in scans if "left_behind" not in step] == [], (query, plan)
