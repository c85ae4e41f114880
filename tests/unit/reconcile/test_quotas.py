"""Quotas of a request: live and candidate instances of a region against what is configured; never for a rollback."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.errors import Conflict
from syncd.plan.binding import PrewarmPolicy
from syncd.plan.phases import ReleasePhase
from syncd.plan.quota import Quota
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.quotas import check_quotas, unchecked
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.plans.plan import document, plan
from syncd.values.function import InstanceSettings

from tests.support.rooms import BINDINGS, DRAW, FLEET, SDXL, Site, World, site
from tests.unit.api.serving import serving

WARM = {binding.name: replace(binding, warmth=PrewarmPolicy(2, 60.0, "before", 1800.0)) for binding in BINDINGS}


def keep(world: World, instances: int) -> None:
    """The platform holds instances of the live alias in the first region."""
    function = world.runtimes["hangzhou"].functions[DRAW]
    function.instance = InstanceSettings(card="tesla.1", gpu_gb=16)
    function.scaling["prod"] = {"scaling": {"minInstances": instances}}


def limited(here: Site, quota: Quota) -> Site:
    topology = replace(FLEET, bindings=WARM)
    return site(here.world, here.state, topology=topology, quotas={"hangzhou": quota})


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    """Two versions were live, one after the other, and eight instances of the alias are held."""
    for version in ("v1", "v2"):
        on_sqlite.world.deliver(SDXL, version)
        publish(on_sqlite.requester, SDXL, version)
        on_sqlite.settle()
    keep(on_sqlite.world, 8)
    return on_sqlite


def test_a_release_that_fits_is_planned(here: Site) -> None:
    at = limited(here, Quota(instances=12, gpus={"tesla.1": 12, "*": 12}))
    check_quotas(at.looker, SDXL)
    planned = plan(at.looker, "models", SDXL, "v1")
    (warning,) = planned.warnings  # the other region has none
    assert warning.startswith("singapore: 4 instances would be held and no quota is configured; the platform's")
    assert "300 instances a region, and 30 GPUs by one page or 10 of tesla.1" in warning
    assert document(planned)["warnings"] == [warning]


@pytest.mark.parametrize("quota", [Quota(instances=11), Quota(gpus={"tesla.1": 11}), Quota(gpus={"*": 11})])
def test_plan_and_publish_refuse_with_the_arithmetic_and_a_rollback_is_made(here: Site, quota: Quota) -> None:
    at = limited(here, quota)
    for asked in (lambda: check_quotas(at.looker, SDXL), lambda: plan(at.looker, "models", SDXL, "v1")):
        with pytest.raises(Conflict) as refused:
            asked()
        assert refused.value.message.startswith(
            "hangzhou: 8 (draw:prod live) + 2 (draw:next candidate) + 2 (draw:before previous) = 12 "
        )
        assert refused.value.message.endswith(", the quota is 11")
        assert "[runtimes.hangzhou]" in refused.value.hint
    with serving(at) as served:
        for body in ({"model": SDXL, "ref": "v1"}, {"name": f"{SDXL}-v1"}):
            answer = served.call("POST", "/v1/releases", Role.PUBLISH, json=body)
            assert answer.status_code == 409, answer.text
            assert "the quota is 11" in answer.text
    back = rollback(at.requester, SDXL, "bad eyes")
    at.settle(patient=True)
    assert at.release(back.id).phase is ReleasePhase.LIVE


def test_a_region_that_does_not_answer_is_not_checked_and_says_so(here: Site) -> None:
    at = limited(here, Quota(instances=1))
    runtime = here.world.runtimes["hangzhou"]
    runtime.functions.clear()
    check_quotas(at.looker, SDXL)  # there is no function: the release will say so
    assert [text.partition(":")[0] for text in unchecked(at.looker, SDXL)] == ["singapore"]
