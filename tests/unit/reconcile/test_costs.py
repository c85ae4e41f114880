"""Costs by the record of a world in which versions were released."""

from __future__ import annotations

import pytest
from syncd.artifact.names import parse_model
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.plans import costs
from syncd.state.content import placements

from tests.support.rooms import SDXL, Site


@pytest.fixture
def here(on_each: Site) -> Site:
    return on_each


def test_a_function_that_had_the_bytes_did_not_wait_for_them(here: Site) -> None:
    here.world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    here.settle()
    with here.state.read() as conn:
        times = placements.times(conn, SDXL)
    assert {each.target for each in times} == {"hz", "sg"}
    assert all(each.size_bytes > 0 and each.seconds >= 0 for each in times)
    found = costs.saved(here.state, here.context.topology, parse_model(SDXL), "v1", starts=7)
    assert [(each.region, each.starts) for each in found] == [("hangzhou", 7), ("singapore", 7)]
    by_record = costs.saved(here.state, here.context.topology, parse_model(SDXL), "")
    assert [each.starts for each in by_record] == [1, 1]
    assert all(each.saved_s == each.starts * each.copy_s for each in by_record)
