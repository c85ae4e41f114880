"""An accelerator in front of a bucket: what starts are counted as, what fits into it, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from syncd.artifact.names import parse_model
from syncd.cost.shipped import shipped
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.plans.advice import AdviceQuestion, advice
from syncd.reconcile.views.plans.costs import ADDED, HELD, Reckoning
from syncd.reconcile.views.plans.plan import plan
from syncd.state.content import versions
from syncd.state.serving import load_times

from tests.support.rooms import FLEET, SDXL, Site, site


@pytest.mark.parametrize("more_bytes", [0, -1])
def test_live_and_new_versions_must_fit(on_sqlite: Site, more_bytes: int) -> None:
    for version in ("v1", "v2"):
        on_sqlite.world.deliver(SDXL, version)
    at = site(on_sqlite.world, on_sqlite.state, topology=replace(FLEET, accelerators={"hz": 10**9}))
    release = publish(at.requester, SDXL, "v1")
    at.settle()
    with at.state.read() as conn:
        (known,) = versions.known(conn, SDXL)
        kinds = {time.region: time.target_kind for time in load_times.of_release(conn, release.id)}
    assert kinds == {"hangzhou": "oss with accelerator", "singapore": "oss"}
    regions = advice(at.looker, parse_model(SDXL), None, AdviceQuestion())["regions"]
    assert [region["now"] for region in regions] == [["oss with accelerator"], ["oss"]]
    both = 2 * known.size_bytes + more_bytes
    small = site(on_sqlite.world, on_sqlite.state, topology=replace(FLEET, accelerators={"hz": both}))
    warnings = plan(small.looker, "models", SDXL, "v2").warnings
    sums = f"hz: {known.size_bytes} bytes live + {known.size_bytes} of the new version = {2 * known.size_bytes},"
    says = f"{sums} its accelerator holds {both}: starts read the rest from the bucket; raise its capacity"
    assert [text for text in warnings if "accelerator" in text] == ([says] if more_bytes else [])
    assert not plan(small.looker, "models", SDXL, "v1").warnings  # it is what is live


def test_its_capacity_is_paid_for_with_what_is_held_and_not_again_with_a_release() -> None:
    regions = {**FLEET.regions, "hz": "cn-hangzhou"}
    topology = replace(FLEET, accelerators={"hz": 10**9}, regions=regions)
    reckoning = Reckoning(shipped(), "china", date(2026, 11, 30), topology)
    held, added = (reckoning.cost("hz", 10**9, what) for what in (HELD, ADDED))
    assert [line.what for line in held.monthly.lines] == ["storage at hz", "accelerator of hz"]
    assert held.monthly.text == "CNY unknown"
    assert added.monthly.text == "CNY 0.120"
