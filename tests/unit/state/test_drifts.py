"""Drifts and resolutions in SQL: one open drift of each part, and no alias that is claimed and restored at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from syncd.errors import Conflict, Fenced
from syncd.plan.drift import Difference
from syncd.plan.phases import StepKind, StepState
from syncd.state.records import DriftResolution
from syncd.state.releases import steps
from syncd.state.serving import drift_resolutions, drifts, flips, live
from syncd.state.state import State

from tests.unit.state.making import NOON, after_s, end_flip, kinds, make_release

MOVED = Difference("alias", "3", "2")
SHARED = Difference("weights", "0.5 to 3", "nothing")


@pytest.fixture
def state(database_url: str) -> Iterator[State]:
    state = State(database_url)
    yield state
    state.close()


def begin(conn: sa.Connection, subject: str, *beside: str) -> DriftResolution:
    return drift_resolutions.begin(
        conn, subject, {subject, *beside}, who="ann", why="x", expects="3", lease_s=10, now=NOON
    )


def test_a_drift_is_reported_once_and_closed_once(state: State) -> None:
    with state.write() as conn:
        recorded = live.record(conn, "b", "2", {}, None, NOON)
        assert drifts.note(conn, recorded, (), after_s(1)) == []
        (new,) = drifts.note(conn, recorded, (MOVED,), after_s(2))
        assert (new.good_at, new.found_at) == (after_s(1), after_s(2))
        (other,) = drifts.note(conn, recorded, (MOVED, SHARED), after_s(3))
        assert (other.what, other.good_at) == ("weights", after_s(1))
        assert [drift.seen_at for drift in drifts.open_drifts(conn)] == [after_s(3), after_s(3)]
        drifts.note(conn, recorded, (SHARED,), after_s(4))
        assert [drift.what for drift in drifts.open_drifts(conn, ("b",))] == ["weights"]
        assert drifts.open_drifts(conn, ("other",)) == []
        drifts.close(conn, drifts.open_drifts(conn), "adopted", after_s(5))
        over = drifts.closed_drifts(conn, 10)
        assert [(each.what, each.closed_at) for each in over] == [("weights", after_s(5)), ("alias", after_s(4))]
        assert drifts.closed_drifts(conn, 10, ("other",)) == []
        seen = drifts.last_scan(conn, "b")
        assert seen is not None
        assert (seen.looked_at, seen.good_at) == (after_s(4), after_s(1))
        assert kinds(conn) == ["binding.drifted", "binding.drifted", "binding.returned"]


def test_a_flip_that_was_read_back_counts_as_a_good_scan(state: State) -> None:
    with state.write() as conn:
        drifts.note(conn, live.record(conn, "b", "2", {}, None, NOON), (), after_s(1))
        recorded = live.record(conn, "b", "3", {}, None, after_s(5))
        (new,) = drifts.note(conn, recorded, (Difference("alias", "2", "3"),), after_s(9))
        assert new.good_at == after_s(5)


def test_the_database_itself_refuses_a_second_open_drift_of_one_part(state: State) -> None:
    with state.write() as conn:
        drifts.note(conn, live.record(conn, "b", "2", {}, None, NOON), (MOVED,), NOON)
    columns = "binding, what, found_at, got, want, good_at, seen_at"
    again = sa.text(f"INSERT INTO drifts ({columns}) VALUES ('b', 'alias', 1, '', '', 1, 1)")
    with pytest.raises(Conflict), state.write() as conn:
        conn.execute(again)


def test_a_claimed_binding_is_not_restored_and_a_binding_under_restore_is_not_claimed(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        flips.claim(conn, release, ["a"], NOON)
        with pytest.raises(Conflict, match="r-1 holds the alias of a"):
            begin(conn, "b", "a")
        assert drift_resolutions.unfinished(conn) == []
        end_flip(conn, release, "a")
        begin(conn, "b", "a")
        second = make_release(conn)
        assert flips.claim(conn, second, ["a", "c"], NOON) == "the restore of b by ann"
        assert flips.of_release(conn, second.id) == []
        assert flips.claim(conn, second, ["c"], NOON) is None


@pytest.mark.parametrize("number", range(4))
def test_of_a_release_and_a_restore_that_begin_at_once_one_has_the_alias(state: State, number: int) -> None:
    with state.write() as conn:
        release = make_release(conn)
    won: list[str] = []
    together = threading.Barrier(2)

    def claim() -> None:
        together.wait()
        with state.write() as conn:
            if flips.claim(conn, release, ["b"], NOON) is None:
                won.append("release")

    def put_back() -> None:
        together.wait()
        try:
            with state.write() as conn:
                begin(conn, "b")
            won.append("restore")
        except Conflict:
            return

    rivals = (claim, put_back) if number % 2 else (put_back, claim)
    threads = [threading.Thread(target=each) for each in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1, won


def test_a_resolution_is_taken_over_after_its_lease_and_its_previous_worker_is_fenced(state: State) -> None:
    with state.write() as conn:
        first = begin(conn, "b", "a")
        drift_resolutions.renew(conn, first, 20, NOON)
        assert drift_resolutions.take_over(conn, "b", 10, after_s(15)) is None
        second = drift_resolutions.take_over(conn, "b", 10, after_s(21))
        assert second is not None
        assert (second.attempt, second.expects, second.who) == (2, "3", "ann")
        with pytest.raises(Fenced):
            drift_resolutions.renew(conn, first, 10, NOON)
        with pytest.raises(Fenced):
            drift_resolutions.end(conn, first)
        drift_resolutions.end(conn, second)
        assert drift_resolutions.find(conn, "a") is None
        assert drift_resolutions.unfinished(conn) == []


def test_the_newest_staging_is_found_by_how_it_ended(state: State) -> None:
    with state.write() as conn:
        for number, (rollback, ended) in enumerate([(False, "done"), (False, "stall"), (True, "done")]):
            step = steps.ensure(conn, make_release(conn, rollback=rollback).id, StepKind.STAGE, "b", "q", NOON)
            step = steps.hand_over(conn, step, NOON)
            steps.begin(conn, step.id, step.attempt, "w", 10, after_s(number))
            if ended == "done":
                steps.done(conn, step.id, step.attempt, after_s(number))
            else:
                steps.stall(conn, step.id, step.attempt, "no", "", after_s(number))
        assert steps.newest_start(conn, StepKind.STAGE, ["b"], is_done=True) == after_s(0)
        assert steps.newest_start(conn, StepKind.STAGE, ["b"], is_done=False) == after_s(1)
        assert steps.newest_start(conn, StepKind.STAGE, ["other"], is_done=False) is None
        assert steps.get(conn, "r-2/stage/b").state is StepState.STALLED
