"""The last results of `verify`, after a repair and a check of the aliases have found more since."""

from __future__ import annotations

import shutil
import threading

import pytest
from syncd.plan.drift import DriftPolicy
from syncd.reconcile.drift.scan import DriftRules, scan
from syncd.reconcile.repair.repairs import execute, request
from syncd.reconcile.views.shapes.plans import LastVerificationDocument
from syncd.reconcile.views.verification import keep, last, verify
from syncd.targets.base import Depth
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, SDXL, TRANSFER, Site
from tests.support.snapshots import live


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    live(on_sqlite, "v1")
    return on_sqlite


def verified(here: Site) -> LastVerificationDocument:
    keep(here.state, {SDXL: list(verify(here.looker, SDXL, Depth.BYTES))}, is_quick=False)
    return read(here)


def read(here: Site) -> LastVerificationDocument:
    return last(here.state, here.context.topology, SDXL)


def damage(here: Site, *targets: str) -> None:
    for target in targets:
        store = here.world.stores[target]
        for key in [key for key in store.objects if key.endswith("weights.bin")]:
            del store.objects[key]


def repair(here: Site, target: str) -> str:
    (begun,) = request(here.requester, SDXL, "v1", target)
    return execute(here.looker, TRANSFER, begun, threading.Event()).phase


def test_what_a_repair_made_whole_is_no_difference_any_more(here: Site) -> None:
    damage(here, "sg")
    found = verified(here)
    assert (found.good, [each.subject for each in found.findings if each.wrong]) == (False, ["sg"])
    assert repair(here, "sg") == "repaired"
    now = read(here)
    (row,) = (each for each in now.findings if each.resolved_at)
    assert (now.good, now.hint, row.subject, row.wrong, row.remedy) == (True, None, "sg", None, None)
    ran_at = now.verified_at[SDXL]
    assert ran_at is not None
    assert row.resolved_at is not None
    assert now.verified_at == found.verified_at
    assert row.resolved_at > ran_at, "it is said what came after which run"


def test_only_the_target_that_was_repaired_is_whole(here: Site) -> None:
    damage(here, "hz", "sg")
    verified(here)
    assert repair(here, "hz") == "repaired"
    now = read(here)
    assert (now.good, [each.subject for each in now.findings if each.wrong]) == (False, ["sg"])
    assert "syncd repair sdxl@v1 --target sg" in (now.hint or "")


def test_a_repair_before_the_run_and_one_that_failed_resolve_nothing(here: Site) -> None:
    damage(here, "sg")
    assert repair(here, "sg") == "repaired"
    damage(here, "hz", "sg")
    found = verified(here)
    assert not found.good
    shutil.rmtree(here.world.root / SDXL / "v1")
    assert repair(here, "sg") == "failed"
    assert read(here) == found


def test_an_alias_that_its_newest_check_finds_as_recorded_is_no_difference_any_more(here: Site) -> None:
    runtime, rules = here.world.runtimes["singapore"], DriftRules(DriftPolicy.REPORT)
    here.world.deliver(SDXL, "v2")
    live(here, "v2")
    runtime.functions[DRAW].aliases["prod"] = AliasState("1")
    assert [each.subject for each in verified(here).findings if each.wrong] == ["draw-sg"]
    scan(here.context, "singapore", rules, threading.Event())
    assert not read(here).good, "the check found it elsewhere too"
    runtime.functions[DRAW].aliases["prod"] = AliasState("2")
    scan(here.context, "singapore", rules, threading.Event())
    assert read(here).good
    runtime.functions[DRAW].aliases["prod"] = AliasState("1")
    scan(here.context, "singapore", rules, threading.Event())
    assert not read(here).good
