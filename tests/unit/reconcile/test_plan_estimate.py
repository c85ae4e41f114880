"""Estimates of a plan: time by rates and limits of the hours, money by the price list, and what is not known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.plans.document import plan_document
from syncd.reconcile.views.plans.estimate import duration_s
from syncd.state.content import versions
from syncd.state.db.schema import events as history

from tests.support.rooms import SDXL, Site, World, site

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size_bytes", "rate", "limit", "seconds"),
    [
        (0, None, 0, 0.0),
        (1000, 10.0, 0, 100.0),
        (1000, None, 5, 200.0),
        (1000, 10.0, 5, 200.0),
        (1000, 4.0, 5, 250.0),
        (1000, None, 0, None),
        (10**12, 1.0, 0, None),
    ],
)
def test_the_lower_of_rate_and_limit_counts(
    size_bytes: int, rate: float | None, limit: int, seconds: float | None
) -> None:
    assert duration_s(size_bytes, rate, lambda _at: limit, NOON) == seconds


def test_a_limit_of_later_hours_counts_then() -> None:
    def by_day(at: datetime) -> int:
        return 10 if at < datetime(2026, 3, 1, 13, tzinfo=UTC) else 100

    assert duration_s(36_000 + 6_000, None, by_day, NOON) == 3600 + 60


def test_a_plan_has_money_and_no_time_before_the_first_copy(world: World, on_sqlite: Site) -> None:
    on_sqlite.world.deliver(SDXL, "v1")
    before = plan_document(on_sqlite.looker, f"{SDXL}@v1")["targets"]
    assert [(t["seconds"], t["measured_bytes_s"], t["monthly"]) for t in before] == [(None, None, None)] * 2  # no such
    limited = site(world, on_sqlite.state, limit_at=lambda _at: 1000)  # region of the price list
    slow = plan_document(limited.looker, f"{SDXL}@v1")["targets"]
    assert [t["seconds"] for t in slow] == [t["send_bytes"] / 500 for t in slow]


def test_the_rate_of_earlier_copies_counts(on_sqlite: Site) -> None:
    on_sqlite.world.deliver(SDXL, "v1")
    publish(on_sqlite.requester, SDXL, "v1")
    on_sqlite.settle()
    sealed = plan_document(on_sqlite.looker, f"{SDXL}@v1")["targets"]
    assert [(t["sealed"], t["seconds"]) for t in sealed] == [(True, 0.0)] * 2
    with on_sqlite.state.write() as conn:  # as if each copy had taken ten seconds
        later = on_sqlite.state.now(conn) + timedelta(seconds=10)
        conn.execute(sa.update(history).where(history.c.kind == "placement.sealed").values(at=later))
        (first,) = (version.size_bytes for version in versions.known(conn, SDXL))
    on_sqlite.world.deliver(SDXL, "v2")
    planned = plan_document(on_sqlite.looker, f"{SDXL}@v2")["targets"]
    assert [t["measured_bytes_s"] for t in planned] == [pytest.approx(first / 10, rel=0.2)] * 2  # its clock moves
    assert [t["seconds"] for t in planned] == [t["send_bytes"] / t["measured_bytes_s"] for t in planned]
