"""What `status` says of a release under way: the share of each alias, and how far each copy is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from syncd.plan.phases import PlacementPhase, ReleasePhase, StepState
from syncd.plan.strategy import Strategy
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.overview import overview
from syncd.state.content import placements
from syncd.state.records import Release
from syncd.state.releases import steps
from syncd.state.releases.events import advance
from syncd.values.function import AliasState

from tests.support.rooms import LEASE_S, SDXL, Site
from tests.support.snapshots import live
from tests.unit.reconcile.test_steps import CANARY, HZ, SG, WAVES, by, later, moving, outage

R = ReleasePhase
BAKED = Strategy(bake_s=60.0, judge_samples=1)
TOTAL_BYTES = 100_008  # of each version that `World.deliver` makes


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


def row_of(here: Site, release: Release) -> Mapping[str, Any]:
    rows = overview(here.state, here.context.topology)["in_flight"]
    assert isinstance(rows, list)
    (row,) = (row for row in rows if row["release"] == release.id)
    return dict(row)


def shares(here: Site, release: Release) -> dict[str, tuple[str, int]]:
    return {each["binding"]: (each["phase"], each["percent"]) for each in row_of(here, release)["shares"]}


def test_a_share_is_what_the_canary_of_each_alias_has(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    here.world.deliver(SDXL, "v2")
    release = publish(here.requester, SDXL, "v2")
    here.until(R.STAGING, release.id)
    assert shares(here, release) == {}, "no alias is moved yet"
    here.settle()
    assert shares(here, release) == {"draw-hz": ("weighted", 10), "draw-sg": ("weighted", 10)}
    later(here, 310)
    assert shares(here, release) == {"draw-hz": ("weighted", 50), "draw-sg": ("weighted", 50)}
    later(here, 610)
    assert shares(here, release) == {"draw-hz": ("flipped", 100), "draw-sg": ("flipped", 100)}, "it is baked"
    later(here, 80)
    assert here.release(release.id).phase is R.LIVE
    assert overview(here.state, here.context.topology)["in_flight"] == []


def test_a_wave_that_has_not_come_has_no_share(here: Site) -> None:
    live(here, "v1")
    here = by(here, WAVES)
    release = moving(here, "v2")
    assert {binding: percent for binding, (_, percent) in shares(here, release).items()} == {
        "draw-hz": 100,
        "draw-sg": 0,
    }


@pytest.mark.parametrize(("strategy", "percent"), [(CANARY, 10), (BAKED, 100)])
def test_a_share_is_there_until_the_alias_is_back(here: Site, strategy: Strategy, percent: int) -> None:
    """A region that is out keeps what it serves, and nobody may read that nothing of it is served."""
    live(here, "v1")
    here, away = outage(here, strategy)
    release = moving(here, "v2")
    served = here.world.alias(SG)
    assert served != AliasState("1")
    away.out = True
    rollback(here.requester, SDXL, "black images")
    here.settle()
    assert here.release(release.id).phase is R.UNDOING
    away.out = False
    assert here.world.alias(HZ) == AliasState("1")
    assert here.world.alias(SG) == served
    assert shares(here, release) == {"draw-hz": ("undone", 0), "draw-sg": ("undoing", percent)}


def copying(here: Site) -> tuple[Release, datetime]:
    """A release whose copies one worker has begun, and when."""
    here.world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    release = here.until(R.PLACING, release.id)
    tick(here.context)
    key = here.engine.take(release.id)
    assert key is not None
    with here.state.write() as conn:
        step = steps.begin(conn, *key, "worker-1", LEASE_S, here.state.now(conn))
        for placement in placements.of_version(conn, release.version_id or ""):
            advance(conn, placement, PlacementPhase.COPYING, now=here.state.now(conn), step=step)
    assert step.started_at is not None
    return release, step.started_at


def note(here: Site, release: Release, target: str, at: datetime, **counters: int) -> None:
    with here.state.write() as conn:
        sent = counters.get("bytes_sent", 0)
        placements.note_progress(conn, release.version_id or "", target, sent, counters, at)


def test_a_copy_has_its_bytes_its_rate_and_the_seconds_left(here: Site) -> None:
    release, began = copying(here)
    note(here, release, "hz", began + timedelta(seconds=10), bytes_sent=30_000, bytes_copied=10_000, bytes_kept=20_000)
    first, second = row_of(here, release)["copies"]
    assert first == {
        "target": "hz",
        "bytes_done": 60_000,
        "bytes_total": TOTAL_BYTES,
        "bytes_per_s": 4_000,  # of what was moved: what was there already took no time
        "eta_s": 10.0,
    }
    assert second == {"target": "sg", "bytes_done": 0, "bytes_total": TOTAL_BYTES, "bytes_per_s": 0, "eta_s": None}


def test_a_copy_that_has_moved_nothing_yet_has_no_rate(here: Site) -> None:
    release, began = copying(here)
    note(here, release, "hz", began + timedelta(seconds=10), bytes_kept=50_000)
    (copy, _) = row_of(here, release)["copies"]
    assert (copy["bytes_done"], copy["bytes_per_s"], copy["eta_s"]) == (50_000, 0, None)


def test_a_copy_whose_worker_is_gone_keeps_its_bytes_and_promises_no_time(here: Site) -> None:
    release, began = copying(here)
    note(here, release, "hz", began + timedelta(seconds=10), bytes_sent=40_000)
    (step,) = (each for each in here.steps(release.id).values() if each.state is StepState.RUNNING)
    with here.state.write() as conn:
        now = here.state.now(conn)
        steps.postpone(conn, step.id, step.attempt, due_at=now, reason="no answer", failed=True, now=now)
    row = row_of(here, release)
    assert (row["copies"][0]["bytes_done"], row["copies"][0]["eta_s"]) == (40_000, None)
    assert [(each["subject"], each["failures"]) for each in row["waiting"]] == [(step.subject, 1)]


def test_all_bytes_are_there_before_the_seal_and_a_sealed_one_is_no_copy_under_way(here: Site) -> None:
    release, began = copying(here)
    note(here, release, "hz", began + timedelta(seconds=10), bytes_sent=TOTAL_BYTES)
    with here.state.write() as conn:
        placement = placements.get(conn, release.version_id or "", "sg")
        advance(conn, placement, PlacementPhase.SEALED, now=here.state.now(conn))
    (copy,) = row_of(here, release)["copies"]
    assert (copy["target"], copy["bytes_done"], copy["eta_s"]) == ("hz", TOTAL_BYTES, 0.0)


def test_a_real_copy_ends_with_every_byte_counted_and_none_under_way(here: Site) -> None:
    here.world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.until(R.STAGING, release.id)
    assert row_of(here, release)["copies"] == []
    placed = here.placements(SDXL, "v1")
    assert [each.progress["bytes_sent"] for each in placed.values()] == [TOTAL_BYTES] * 2
