"""Cold starts: the times of first answers, as recorded with a probe and as reported for a version."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from syncd.errors import NotFound
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views import cold_starts
from syncd.reconcile.views.release import history, load
from syncd.state.records import LoadTime
from syncd.state.serving import load_times
from syncd.values.function import Change

from tests.support.rooms import BINDINGS, FLEET, NOON, SDXL, Site, World, site


def released(here: Site, version: str) -> str:
    here.world.deliver(SDXL, version)
    release = publish(here.requester, SDXL, version)
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE
    return release.id


def of_release(here: Site, release_id: str) -> list[LoadTime]:
    with here.state.read() as conn:
        return load_times.of_release(conn, release_id)


def test_each_binding_of_a_release_has_its_first_answer(here: Site) -> None:
    release_id = released(here, "v1")
    found = of_release(here, release_id)
    assert [(t.binding, t.region, t.target_kind, t.cold) for t in found] == [
        ("draw-hz", "hangzhou", "oss", True),
        ("draw-sg", "singapore", "oss", True),
    ]
    told = history(load(here.state, release_id), [])["first_answers"]
    assert isinstance(told, list)
    assert [row["answer_s"] for row in told] == [t.answer_ms / 1000 for t in found]
    assert told[0]["inside_s"] is told[0]["load_s"] is None, "nobody has said"


def test_what_the_answer_says_of_loading_is_recorded(here: Site, world: World) -> None:
    def slow(change: Change) -> bytes:
        return json.dumps({"digests": list(change.environment.values()), "load": {"s": 41.5}}).encode()

    bindings = {binding.name: replace(binding, load_path="load.s") for binding in BINDINGS}
    there = site(world, here.state, topology=replace(FLEET, bindings=bindings))
    for runtime in world.runtimes.values():
        runtime.replies[b"{}"] = slow
    assert {t.load_ms for t in of_release(here, released(there, "v1"))} == {41_500}


def test_stages_of_loading_in_the_answer_are_recorded_beside_what_the_platform_says(here: Site, world: World) -> None:
    said = {"find": 0.25, "read": 41.5, "note": "fast", "late": -1, "more": True, "x" * 40: 1}

    def slow(change: Change) -> bytes:
        return json.dumps({"digests": list(change.environment.values()), "load": said}).encode()

    bindings = {binding.name: replace(binding, load_path="load") for binding in BINDINGS}
    there = site(world, here.state, topology=replace(FLEET, bindings=bindings))
    for runtime in world.runtimes.values():
        runtime.replies[b"{}"] = slow
    for time in of_release(here, released(there, "v1")):
        assert time.load_ms == 42_750
        assert time.stages == {"load.find": 250, "load.read": 41_500, f"load.{'x' * 32}": 1000}


def test_a_version_that_was_published_before_is_no_cold_start(here: Site) -> None:
    released(here, "v1")
    released(here, "v2")
    back = rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    assert [t.cold for t in of_release(here, back.id)] == [False, False]


def test_a_version_is_told_with_the_medians_of_its_cold_starts(here: Site) -> None:
    release_id = released(here, "v1")
    with here.state.write() as conn:
        first = load_times.of_release(conn, release_id)[0]
        for number, (seconds, cold) in enumerate(((3, True), (50, True), (1, False), (2, False))):
            row = replace(first, binding=f"b{number}", region="tokyo", target_kind="nas", cold=cold)
            load_times.note(conn, replace(row, answer_ms=seconds * 1000, load_ms=seconds * 10 if cold else 7, at=NOON))
    told = cold_starts.of_version(here.state, SDXL, "v1")
    assert (told["model"], told["version"], told["digest"]) == (SDXL, "v1", here.digest(SDXL, "v1"))
    rows = told["first_answers"]
    assert isinstance(rows, list)
    assert [(row["region"], row["target_kind"]) for row in rows] == [
        ("hangzhou", "oss"),
        ("singapore", "oss"),
        ("tokyo", "nas"),
    ]
    tokyo = rows[2]
    assert (tokyo["cold_starts"], tokyo["cold_answer_s"], tokyo["others"], tokyo["other_answer_s"]) == (2, 26.5, 2, 1.5)
    assert math.isclose(tokyo["cold_load_s"], 0.265)
    assert (rows[0]["others"], rows[0]["other_answer_s"], rows[0]["cold_load_s"]) == (0, None, None)


def test_a_version_of_which_nothing_is_known_is_not_found(here: Site) -> None:
    with pytest.raises(NotFound, match="sdxl@v9"):
        cold_starts.of_version(here.state, SDXL, "v9")
