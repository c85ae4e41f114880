"""Prewarms and load times, on each database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from syncd.errors import NotYet
from syncd.plan.phases import ReleasePhase
from syncd.state.records import LoadTime, Prewarm, Release
from syncd.state.releases import events
from syncd.state.serving import load_times, prewarms
from syncd.state.state import State

from tests.unit.state.making import NOON, go, make_release, make_version

BEFORE = {"scaling": {"minInstances": 1, "policies": [{"name": "night"}]}}


def wanted(release: Release, **changes: object) -> Prewarm:
    made = Prewarm("draw", "next", release.id, "hz", "draw", 2, BEFORE, 0, made=False, cooling=False, since=NOON)
    return replace(made, **changes)  # type: ignore[arg-type]


LIVE = (ReleasePhase.PLACING, ReleasePhase.STAGING, ReleasePhase.FLIPPING, ReleasePhase.LIVE)


def test_a_prewarm_is_read_as_it_was_written(state: State) -> None:
    with state.write() as conn:
        row = prewarms.own(conn, wanted(make_release(conn)))
    with state.read() as conn:
        assert prewarms.find(conn, "draw", "next") == row
        assert prewarms.find(conn, "draw", "other") is None


def test_owning_twice_is_owning_once(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        first = prewarms.own(conn, wanted(release))
        assert prewarms.own(conn, wanted(release, before={}, since=NOON + timedelta(1))) == first
        assert [e.kind for e in events.of_release(conn, release.id)].count("warmth.wanted") == 1


def test_a_later_release_takes_over_and_keeps_the_original_settings(state: State) -> None:
    with state.write() as conn:
        first, second = make_release(conn), make_release(conn, "lora")
        prewarms.own(conn, wanted(first))
        taken = prewarms.own(conn, wanted(second, before={}, instances=3, since=NOON + timedelta(1)))
        assert (taken.before, taken.instances, taken.release_id) == (BEFORE, 3, second.id)
        assert prewarms.find(conn, "draw", "next") == taken


def test_a_prewarm_under_removal_cannot_be_taken_over(state: State) -> None:
    with state.write() as conn:
        release, other = make_release(conn), make_release(conn, "lora")
        row = prewarms.own(conn, wanted(release))
        assert prewarms.releasing(conn, row)
        for asking in (release, other):
            with pytest.raises(NotYet, match="are being released"):
                prewarms.own(conn, wanted(asking))
        prewarms.released(conn, row, NOON)
        prewarms.released(conn, row, NOON)
        assert [e.kind for e in events.of_release(conn, release.id)].count("warmth.removed") == 1
        assert prewarms.own(conn, wanted(other)).release_id == other.id


def test_a_prewarm_of_another_release_is_not_removed(state: State) -> None:
    with state.write() as conn:
        old = prewarms.own(conn, wanted(make_release(conn)))
        prewarms.own(conn, wanted(make_release(conn, "lora")))
        assert not prewarms.releasing(conn, old)
        prewarms.released(conn, old, NOON)
        assert prewarms.find(conn, "draw", "next") is not None


def test_a_prewarm_is_due_when_its_release_has_ended_and_its_time_is_over(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        prewarms.own(conn, wanted(release))
        kept = prewarms.own(conn, wanted(release, alias="before", kept_s=60))
        assert prewarms.due(conn, NOON) == []
        go(conn, release, *LIVE)
        assert [row.alias for row in prewarms.due(conn, NOON)] == ["next"]
        assert [row.alias for row in prewarms.due(conn, NOON + timedelta(seconds=60))] == ["before", "next"]
        prewarms.releasing(conn, kept)
        assert [row.alias for row in prewarms.due(conn, NOON)] == ["before", "next"], "what was begun is finished"


def test_a_prewarm_is_kept_after_a_flip_and_not_after_another_end(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        prewarms.own(conn, wanted(release, kept_s=3600))
        go(conn, release, ReleasePhase.CANCELLED)
        assert len(prewarms.due(conn, NOON)) == 1


def test_the_newest_record_of_scaling_settings_counts(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        for settings in ({}, BEFORE, {"provision": {"defaultTarget": 2}}):
            prewarms.note_scaling(conn, release.id, "draw", settings)
        (kept,) = prewarms.kept_scalings(conn)
        assert (kept.settings, kept.compared) == ({"provision": {"defaultTarget": 2}}, False)
        prewarms.compared(conn, kept)
        (kept,) = prewarms.kept_scalings(conn)
        assert kept.compared
        prewarms.note_scaling(conn, release.id, "draw", {})
        assert prewarms.kept_scalings(conn) == []
        prewarms.forget_scaling(conn, kept)


def test_the_first_record_of_a_load_time_stays(state: State) -> None:
    with state.write() as conn:
        version, release = make_version(conn), make_release(conn)
        first = LoadTime(release.id, "draw", version.id, "cn-hangzhou", "oss", True, 1500, 1400, None, NOON)
        load_times.note(conn, first)
        load_times.note(conn, replace(first, cold=False, answer_ms=3))
        load_times.note(conn, replace(first, binding="a", region="ap-southeast-1", load_ms=1))
        assert load_times.of_release(conn, release.id) == [
            replace(first, binding="a", region="ap-southeast-1", load_ms=1),
            first,
        ]
        assert [t.region for t in load_times.of_version(conn, version.id)] == ["ap-southeast-1", "cn-hangzhou"]
        assert load_times.of_version(conn, "other") == []
