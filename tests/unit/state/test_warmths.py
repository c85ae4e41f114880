"""The rows of what is held ready and of first answers, on each database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from syncd.errors import NotYet
from syncd.plan.phases import ReleasePhase
from syncd.state import events, load_times, warmths
from syncd.state.records import LoadTime, Release, Warmth
from syncd.state.state import State

from tests.unit.state.making import NOON, go, make_release, make_version

BEFORE = {"scaling": {"minInstances": 1, "policies": [{"name": "night"}]}}


def wanted(release: Release, **changes: object) -> Warmth:
    made = Warmth("draw", "next", release.id, "hz", "draw", 2, BEFORE, 0, made=False, cooling=False, since=NOON)
    return replace(made, **changes)  # type: ignore[arg-type]


LIVE = (ReleasePhase.PLACING, ReleasePhase.STAGING, ReleasePhase.FLIPPING, ReleasePhase.LIVE)


def test_a_warmth_is_read_as_it_was_written(state: State) -> None:
    with state.write() as conn:
        row = warmths.own(conn, wanted(make_release(conn)))
    with state.read() as conn:
        assert warmths.find(conn, "draw", "next") == row
        assert warmths.find(conn, "draw", "other") is None


def test_owning_twice_is_owning_once(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        first = warmths.own(conn, wanted(release))
        assert warmths.own(conn, wanted(release, before={}, since=NOON + timedelta(1))) == first
        assert [e.kind for e in events.of_release(conn, release.id)].count("warmth.wanted") == 1


def test_a_later_release_takes_over_and_keeps_what_hung_there_first(state: State) -> None:
    with state.write() as conn:
        first, second = make_release(conn), make_release(conn, "lora")
        warmths.own(conn, wanted(first))
        taken = warmths.own(conn, wanted(second, before={}, instances=3, since=NOON + timedelta(1)))
        assert (taken.before, taken.instances, taken.release_id) == (BEFORE, 3, second.id)
        assert warmths.find(conn, "draw", "next") == taken


def test_what_is_being_removed_is_owned_by_nobody_until_it_is_gone(state: State) -> None:
    with state.write() as conn:
        release, other = make_release(conn), make_release(conn, "lora")
        row = warmths.own(conn, wanted(release))
        assert warmths.cooling(conn, row)
        for asking in (release, other):
            with pytest.raises(NotYet, match="are being let go"):
                warmths.own(conn, wanted(asking))
        warmths.gone(conn, row, NOON)
        warmths.gone(conn, row, NOON)
        assert [e.kind for e in events.of_release(conn, release.id)].count("warmth.removed") == 1
        assert warmths.own(conn, wanted(other)).release_id == other.id


def test_what_another_release_has_taken_over_is_not_removed(state: State) -> None:
    with state.write() as conn:
        old = warmths.own(conn, wanted(make_release(conn)))
        warmths.own(conn, wanted(make_release(conn, "lora")))
        assert not warmths.cooling(conn, old)
        warmths.gone(conn, old, NOON)
        assert warmths.find(conn, "draw", "next") is not None


def test_it_is_due_when_its_release_has_ended_and_its_time_is_over(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        warmths.own(conn, wanted(release))
        kept = warmths.own(conn, wanted(release, alias="before", kept_s=60))
        assert warmths.due(conn, NOON) == []
        go(conn, release, *LIVE)
        assert [row.alias for row in warmths.due(conn, NOON)] == ["next"]
        assert [row.alias for row in warmths.due(conn, NOON + timedelta(seconds=60))] == ["before", "next"]
        warmths.cooling(conn, kept)
        assert [row.alias for row in warmths.due(conn, NOON)] == ["before", "next"], "what was begun is finished"


def test_what_is_kept_past_a_flip_is_not_kept_past_another_end(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        warmths.own(conn, wanted(release, kept_s=3600))
        go(conn, release, ReleasePhase.CANCELLED)
        assert len(warmths.due(conn, NOON)) == 1


def test_the_newest_note_of_what_hangs_on_an_alias_counts(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        for settings in ({}, BEFORE, {"provision": {"defaultTarget": 2}}):
            warmths.note_scaling(conn, release.id, "draw", settings)
        (kept,) = warmths.kept_scalings(conn)
        assert (kept.settings, kept.compared) == ({"provision": {"defaultTarget": 2}}, False)
        warmths.compared(conn, kept)
        (kept,) = warmths.kept_scalings(conn)
        assert kept.compared
        warmths.note_scaling(conn, release.id, "draw", {})
        assert warmths.kept_scalings(conn) == []
        warmths.forget_scaling(conn, kept)


def test_the_first_note_of_a_first_answer_stays(state: State) -> None:
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
