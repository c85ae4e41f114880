"""Releases, flips, live versions, holds, and events."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from syncd.errors import Conflict, NotFound
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.state.db.schema import events as events_table
from syncd.state.records import FunctionVersion, Live
from syncd.state.releases import events, holds, releases
from syncd.state.releases.events import advance
from syncd.state.serving import flips, live
from syncd.state.state import State

from tests.unit.state.making import (
    NOON,
    after_s,
    all_events,
    end_flip,
    go,
    go_live,
    kinds,
    make_release,
    make_step,
    make_version,
)


def test_releases_are_numbered_in_their_order(state: State) -> None:
    with state.write() as conn:
        made = [make_release(conn, model) for model in ("sdxl", "flux", "sdxl")]
        assert [release.id for release in made] == ["r-1", "r-2", "r-3"]
        assert made[0].phase is ReleasePhase.REQUESTED
        assert (made[0].requested_by, made[0].rollback, made[0].version_id) == ("ci", False, None)
        assert releases.get(conn, "r-2") == made[1]
        assert releases.recent(conn, 2) == [made[2], made[1]]
        assert releases.recent(conn, 9, "sdxl") == [made[2], made[0]]
        assert releases.latest(conn, "flux") == made[1]
        assert releases.latest(conn, "unknown") is None


def test_a_release_that_was_rolled_back_leaves_no_gap(state: State) -> None:
    def fail() -> None:
        with state.write() as conn:
            make_release(conn)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with state.write() as conn:
        assert make_release(conn).id == "r-1"


def test_writers_at_once_get_numbers_of_their_own(state: State) -> None:
    made: list[int] = []

    def create() -> None:
        for _ in range(5):
            with state.write() as conn:
                made.append(make_release(conn).number)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 21))


def test_unfinished_releases_are_given_oldest_first(state: State) -> None:
    with state.write() as conn:
        first, second, third = (make_release(conn) for _ in range(3))
        go(conn, second, ReleasePhase.CANCELLED)
        assert releases.unfinished(conn) == [first, third]


def test_a_release_is_pinned_once(state: State) -> None:
    with state.write() as conn:
        v1, v2 = make_version(conn), make_version(conn, name="v2", content="b")
        release = releases.pin(conn, make_release(conn), v1.id, after_s(1))
        assert releases.get(conn, release.id) == release
        assert releases.pin(conn, release, v1.id, after_s(1)) == release
        with pytest.raises(Conflict, match="another version already"):
            releases.pin(conn, release, v2.id, NOON)
        assert kinds(conn).count("release.pinned") == 1


def test_a_release_cannot_have_an_unrecorded_version(state: State) -> None:
    with pytest.raises(Conflict), state.write() as conn:
        releases.pin(conn, make_release(conn), "sdxl@v1#000000000000", NOON)


def test_notes_need_a_release(state: State) -> None:
    with state.write() as conn:
        releases.note(conn, make_release(conn).id, "waits for r-7", "syncd show r-7", after_s(1))
        noted = releases.get(conn, "r-1")
        assert (noted.reason, noted.hint) == ("waits for r-7", "syncd show r-7")
        with pytest.raises(NotFound, match="r-9"):
            releases.note(conn, "r-9", "", "", NOON)
        with pytest.raises(NotFound, match="r-9"):
            releases.get(conn, "r-9")


def test_all_bindings_are_claimed_or_none(state: State) -> None:
    with state.write() as conn:
        first, second = make_release(conn), make_release(conn, "flux")
        assert flips.claim(conn, first, ["b", "a"], NOON) is None
        assert flips.claim(conn, second, ["z", "b", "c"], NOON) == "r-1"
        assert flips.of_release(conn, second.id) == []
        assert [flip.binding for flip in flips.of_release(conn, first.id)] == ["a", "b"]
        assert flips.holder(conn, "a") == "r-1"
        assert flips.holder(conn, "z") is None
        assert kinds(conn).count("flip.claimed") == 2


def test_claiming_again_is_success(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        flips.claim(conn, release, ["a"], NOON)
        assert flips.claim(conn, release, ["a", "b", "b"], NOON) is None
        assert [flip.binding for flip in flips.of_release(conn, release.id)] == ["a", "b"]


def test_a_binding_is_free_when_its_flip_has_ended(state: State) -> None:
    with state.write() as conn:
        first, second = make_release(conn), make_release(conn)
        flips.claim(conn, first, ["a"], NOON)
        end_flip(conn, first, "a")
        assert flips.claim(conn, second, ["a"], NOON) is None
        assert flips.holder(conn, "a") == "r-2"
        with pytest.raises(Conflict, match="abandoned its flip of a already"):
            flips.claim(conn, first, ["a"], NOON)


def test_of_two_releases_that_claim_at_once_one_holds_everything(state: State) -> None:
    bindings = ["a", "b", "c"]
    with state.write() as conn:
        rivals = [make_release(conn) for _ in range(4)]
    answers: dict[str, str | None] = {}

    def claim(index: int) -> None:
        with state.write() as conn:
            ordered = bindings if index % 2 else bindings[::-1]
            answers[rivals[index].id] = flips.claim(conn, rivals[index], ordered, NOON)

    threads = [threading.Thread(target=claim, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [release for release, holder in answers.items() if holder is None]
    assert {holder for holder in answers.values() if holder} == {winner}
    with state.read() as conn:
        assert {flips.holder(conn, binding) for binding in bindings} == {winner}


def test_the_database_itself_refuses_a_second_unfinished_flip(state: State) -> None:
    with state.write() as conn:
        flips.claim(conn, make_release(conn), ["a"], NOON)
        make_release(conn)
    insert = sa.text("INSERT INTO flips (release_id, binding, updated_at) VALUES ('r-2', 'a', 0)")
    with pytest.raises(Conflict), state.write() as conn:
        conn.execute(insert)
    with state.write() as conn:
        end_flip(conn, releases.get(conn, "r-1"), "a")
        conn.execute(insert)


def test_a_staged_function_version_is_recorded_only_while_the_flip_has_not_moved(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        flips.claim(conn, release, ["a"], NOON)
        seen = flips.get(conn, release.id, "a")
        serves = {"sdxl": "sdxl@v2#b", "lora": "lora@v1#c"}
        staged = flips.note_staged(
            conn, seen, to_version="8", from_version="7", served={"sdxl": "x"}, serves=serves, now=NOON
        )
        assert flips.get(conn, release.id, "a") == staged
        assert (staged.to_version, staged.from_version, staged.serves) == ("8", "7", serves)
        advance(conn, staged, FlipPhase.STAGED, now=NOON)
        with pytest.raises(Conflict, match="no longer claimed"):
            flips.note_staged(conn, seen, to_version="9", from_version=None, served={}, serves={}, now=NOON)
        with pytest.raises(NotFound, match="never claimed z"):
            flips.get(conn, release.id, "z")


def test_the_last_recorded_version_is_live(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        assert live.get(conn, "draw") is None
        live.record(conn, "draw", "7", {"sdxl": "sdxl@v1#a"}, None, NOON)
        now = live.record(conn, "draw", "8", {"sdxl": "sdxl@v2#b"}, release.id, after_s(1))
        assert live.get(conn, "draw") == now == Live("draw", "8", {"sdxl": "sdxl@v2#b"}, "r-1", after_s(1))
        other = live.record(conn, "caption", None, {}, None, NOON)
        assert live.all(conn) == [other, now]


def test_the_first_record_of_a_function_version_stays(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        first = FunctionVersion("draw", "8", {"sdxl": "sdxl@v2#b"}, "d1", release.id, NOON)
        live.note_function_version(conn, first)
        live.note_function_version(conn, FunctionVersion("draw", "8", {}, "d2", release.id, after_s(1)))
        second = FunctionVersion("draw", "9", {}, "d3", release.id, after_s(2))
        live.note_function_version(conn, second)
        assert live.function_versions(conn, "draw") == [first, second]
        assert live.function_versions(conn, "caption") == []


def test_a_rollback_returns_to_the_previous_live_version_and_a_second_one_goes_further_back(state: State) -> None:
    with state.write() as conn:
        made = {name: make_version(conn, name=name, content=name) for name in "abc"}
        assert live.previous_release(conn, "sdxl") is None
        went = {name: go_live(conn, "sdxl", made[name]) for name in "abc"}
        go(conn, make_release(conn), ReleasePhase.CANCELLED)
        go_live(conn, "flux", make_version(conn, model="flux"))
        assert live.previous_release(conn, "sdxl") == went["b"]
        go_live(conn, "sdxl", made["b"], rollback=True)
        assert live.previous_release(conn, "sdxl") == went["a"]
        go_live(conn, "sdxl", made["a"], rollback=True)
        assert live.previous_release(conn, "sdxl") is None


def test_rollbacks_pass_twice_through_a_version_that_was_live_twice(state: State) -> None:
    with state.write() as conn:
        a, b, c = (make_version(conn, name=name, content=name) for name in "abc")
        for version in (a, b, a, c):
            go_live(conn, "sdxl", version)
        for back_to in (a, b, a):
            before = live.previous_release(conn, "sdxl")
            assert before is not None
            assert before.version_id == back_to.id
            go_live(conn, "sdxl", back_to, rollback=True)
        assert live.previous_release(conn, "sdxl") is None


def test_after_a_rollback_and_a_new_release_no_rollback_returns_to_the_bad_version(state: State) -> None:
    with state.write() as conn:
        good, bad, fixed = (make_version(conn, name=name, content=name) for name in "abc")
        first = go_live(conn, "sdxl", good)
        go_live(conn, "sdxl", bad)
        go_live(conn, "sdxl", good, rollback=True)
        go_live(conn, "sdxl", fixed)
        go_live(conn, "sdxl", fixed)
        assert live.previous_release(conn, "sdxl") == first


def test_a_hold_stays_until_it_is_lifted(state: State) -> None:
    with state.write() as conn:
        assert holds.find(conn, "sdxl") is None
        holds.put(conn, "sdxl", "syncd rollback", "r-3", NOON)
        now = holds.put(conn, "sdxl", "ann", "looking into it", after_s(1))
        assert holds.find(conn, "sdxl") == now
        assert holds.all(conn) == [now]
        assert holds.lift(conn, "sdxl", "bob", after_s(2))
        assert not holds.lift(conn, "sdxl", "bob", after_s(2))
        assert kinds(conn) == ["hold.put", "hold.put", "hold.lifted"]
        assert all_events(conn)[-1].detail == {"model": "sdxl", "who": "bob"}


def test_events_of_a_release_are_returned_in_order(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        make_release(conn)
        events.append(conn, "note", now=NOON, release_id=release.id, detail={"n": 1, "deep": {"list": [1, None]}})
        assert [event.kind for event in events.of_release(conn, release.id)] == ["release.requested", "note"]
        assert events.of_release(conn, release.id)[1].detail == {"n": 1, "deep": {"list": [1, None]}}


def test_events_are_followed_from_the_last_one_seen(state: State) -> None:
    with state.write() as conn:
        for number in range(5):
            events.append(conn, f"e{number}", now=state.now(conn))
    with state.read() as conn:
        page = events.after(conn, 0, 3)
        rest = events.after(conn, page[-1].id, 3)
        assert [event.kind for event in page + rest] == ["e0", "e1", "e2", "e3", "e4"]
        assert events.after(conn, rest[-1].id, 3) == []


def test_an_event_behind_a_fresh_gap_waits_until_the_gap_is_old_or_filled(state: State) -> None:
    with state.write() as conn:
        if conn.dialect.name == "sqlite":
            return  # one writer at a time: an event never becomes visible before an earlier one
        now = state.now(conn)
        row = {"kind": "x", "subject": "", "detail": {}}
        conn.execute(sa.insert(events_table), [{"id": 1, "at": now, **row}, {"id": 3, "at": now, **row}])
        assert [event.id for event in events.after(conn, 0, 9)] == [1]
        conn.execute(sa.insert(events_table), [{"id": 2, "at": now, **row}])
        assert [event.id for event in events.after(conn, 0, 9)] == [1, 2, 3]
        long_ago = now - events.SETTLED_AFTER - timedelta(seconds=1)
        conn.execute(sa.insert(events_table), [{"id": 7, "at": long_ago, **row}, {"id": 9, "at": now, **row}])
        assert [event.id for event in events.after(conn, 2, 9)] == [3, 7]


def test_a_step_belongs_to_a_release(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        assert make_step(conn, "oss", release).release_id == release.id
