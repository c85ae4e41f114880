"""Steps: attempts, leases and the fence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from syncd.errors import Conflict, Fenced, NotFound
from syncd.plan.phases import StepKind, StepState
from syncd.state.records import Step
from syncd.state.releases import steps
from syncd.state.state import State

from tests.unit.state.making import NOON, after_s, all_events, kinds, make_release, make_running, make_step


def test_a_new_step_waits_and_is_due_now(state: State) -> None:
    with state.write() as conn:
        step = make_step(conn)
        assert (step.id, step.state, step.attempt, step.due_at) == ("r-1/place/oss", StepState.WAITING, 0, NOON)
        assert steps.open_steps(conn) == [step]


def test_ensuring_a_step_again_gives_it_as_it_is(state: State) -> None:
    with state.write() as conn:
        running = make_running(conn)
        again = steps.ensure(conn, "r-1", StepKind.PLACE, "oss", "another-queue", after_s(60))
        assert again == running
        assert steps.of_release(conn, "r-1") == [running]


def test_a_missing_step_is_not_found(state: State) -> None:
    with state.read() as conn, pytest.raises(NotFound, match="r-9/place/oss"):
        steps.get(conn, "r-9/place/oss")


def test_a_handed_over_step_is_queued_with_the_next_attempt(state: State) -> None:
    with state.write() as conn:
        step = steps.hand_over(conn, make_step(conn), NOON)
        assert (step.state, step.attempt) == (StepState.QUEUED, 1)
        assert steps.get(conn, step.id) == step


def test_of_two_concurrent_hand_overs_one_is_refused(state: State) -> None:
    with state.write() as conn:
        seen = make_step(conn)
        steps.hand_over(conn, seen, NOON)
        with pytest.raises(Conflict, match="no longer waiting at attempt 0"):
            steps.hand_over(conn, seen, NOON)


def test_a_begun_step_has_an_owner_and_a_lease(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn, lease_s=10)
        assert (step.state, step.owner, step.lease_until) == (StepState.RUNNING, "worker-1", after_s(10))
        assert step.started_at == NOON


def test_an_attempt_begins_once(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        with pytest.raises(Fenced, match="is running at attempt 1"):
            steps.begin(conn, step.id, 1, "worker-2", 10, NOON)


def test_a_live_lease_cannot_be_taken_over(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn, lease_s=10)
        assert steps.expired(conn, after_s(9.999)) == []
        with pytest.raises(Conflict, match="lease"):
            steps.hand_over(conn, step, after_s(9.999))


def test_an_expired_lease_is_taken_over_and_fences_out_the_old_worker(state: State) -> None:
    with state.write() as conn:
        old = make_running(conn, lease_s=10)
        assert steps.expired(conn, after_s(10)) == [old]
        new = steps.hand_over(conn, old, after_s(10))
        assert (new.attempt, new.failures, new.owner, new.lease_until) == (2, 0, "", None)
        with pytest.raises(Fenced, match="at attempt 2; this is attempt 1"):
            steps.renew(conn, old.id, 1, 10, after_s(11))
        assert "step.lost" in kinds(conn)


def test_a_renewal_wins_over_a_takeover_that_read_the_lease_as_expired(state: State) -> None:
    with state.write() as conn:
        seen = make_running(conn, lease_s=10)
        assert steps.renew(conn, seen.id, 1, 10, after_s(12)).lease_until == after_s(22)
        with pytest.raises(Conflict, match="renewed"):
            steps.hand_over(conn, seen, after_s(13))


def test_an_attempt_the_engine_lost_is_queued_again(state: State) -> None:
    with state.write() as conn:
        queued = steps.hand_over(conn, make_step(conn), NOON)
        assert steps.hand_over(conn, queued, NOON).attempt == 2
        with pytest.raises(Fenced):
            steps.begin(conn, queued.id, 1, "worker-1", 10, NOON)


def test_a_done_step_stays_done(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        ended = steps.done(conn, step.id, 1, after_s(2.5), {"bytes": 7})
        assert (ended.state, ended.ended_at, ended.lease_until) == (StepState.DONE, after_s(2.5), None)
        with pytest.raises(Fenced):
            steps.done(conn, step.id, 1, after_s(3))
        with pytest.raises(Conflict, match="is done"):
            steps.hand_over(conn, ended, after_s(3))
        assert steps.open_steps(conn) == []
        assert all_events(conn)[-1].detail == {"seconds": 2.5, "bytes": 7}


def test_a_failure_is_counted_and_waits(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        again = steps.postpone(
            conn, step.id, 1, due_at=after_s(30), reason="503", hint="wait", failed=True, now=after_s(1)
        )
        assert (again.state, again.failures, again.due_at) == (StepState.WAITING, 1, after_s(30))
        assert (again.reason, again.hint, again.owner, again.lease_until) == ("503", "wait", "", None)
        assert all_events(conn)[-1].kind == "step.failed"


def test_yielding_is_not_a_failure(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        again = steps.postpone(conn, step.id, 1, due_at=after_s(5), reason="draining", failed=False, now=NOON)
        assert (again.state, again.failures) == (StepState.WAITING, 0)
        assert all_events(conn)[-1].kind == "step.postponed"


def test_a_stalled_step_has_reason_and_hint(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        ended = steps.stall(conn, step.id, 1, "AccessDenied", "grant oss:PutObject", after_s(1))
        assert ended.failures == step.failures + 1, "the attempt that gave up failed too"
        assert (ended.state, ended.reason, ended.hint) == (StepState.STALLED, "AccessDenied", "grant oss:PutObject")
        event = all_events(conn)[-1]
        assert (event.kind, event.step_id, event.attempt) == ("step.stalled", step.id, 1)
        assert event.detail == {"reason": "AccessDenied", "hint": "grant oss:PutObject", "seconds": 1.0}


def test_cancelling_open_steps_ends_idle_ones_and_requests_running_ones_to_stop(state: State) -> None:
    with state.write() as conn:
        release = make_release(conn)
        ended, running, waiting = (make_step(conn, subject, release) for subject in ("a", "b", "c"))
        for step in (ended, running):
            steps.hand_over(conn, step, NOON)
            steps.begin(conn, step.id, 1, "worker-1", 10, NOON)
        steps.done(conn, ended.id, 1, NOON)
        other = make_step(conn, "b", make_release(conn))
        assert [step.id for step in steps.cancel_open(conn, release.id, after_s(1))] == [waiting.id]
        assert steps.cancel_open(conn, release.id, after_s(2)) == []
        assert steps.renew(conn, running.id, 1, 10, after_s(2)).stop_wanted
        assert steps.get(conn, other.id) == other
        assert steps.cancel(conn, running.id, 1, after_s(3)).state is StepState.CANCELLED
        with pytest.raises(Fenced, match="is cancelled"):
            steps.done(conn, running.id, 1, after_s(4))


def test_cancelling_open_steps_ends_a_running_one_with_an_expired_lease(state: State) -> None:
    with state.write() as conn:
        running = make_running(conn)
        (ended,) = steps.cancel_open(conn, running.release_id, after_s(3600))
        assert (ended.id, ended.state) == (running.id, StepState.CANCELLED)


def test_a_step_that_ended_is_reopened_with_a_clean_slate_and_a_new_attempt_to_come(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        ended = steps.stall(conn, step.id, 1, "AccessDenied", "grant it", NOON)
        again = steps.reopen(conn, ended, after_s(1))
        assert (again.state, again.failures, again.reason, again.ended_at) == (StepState.WAITING, 0, "", None)
        with pytest.raises(Conflict, match="no longer stalled"):
            steps.reopen(conn, ended, after_s(2))
        assert steps.hand_over(conn, again, after_s(2)).attempt == 2


def test_a_sole_process_ends_the_leases_of_every_other_owner(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
        assert steps.expire_others(conn, {step.owner}, NOON) == 0
        assert steps.expire_others(conn, {"another process"}, NOON) == 1
        assert [late.id for late in steps.expired(conn, NOON)] == [step.id]


WORKER_WRITES: dict[str, Callable[[sa.Connection, str, int], Step]] = {
    "beat": lambda conn, step, attempt: steps.renew(conn, step, attempt, 10, NOON),
    "done": lambda conn, step, attempt: steps.done(conn, step, attempt, NOON),
    "stall": lambda conn, step, attempt: steps.stall(conn, step, attempt, "why", "", NOON),
    "postpone": lambda conn, step, attempt: steps.postpone(
        conn, step, attempt, due_at=NOON, reason="", failed=True, now=NOON
    ),
}


@pytest.mark.parametrize("write", WORKER_WRITES.values(), ids=WORKER_WRITES.keys())
def test_no_write_of_an_older_attempt_gets_through(
    state: State, write: Callable[[sa.Connection, str, int], Step]
) -> None:
    with state.write() as conn:
        old = make_running(conn)
        new = steps.hand_over(conn, old, after_s(10))
        steps.begin(conn, new.id, 2, "worker-2", 10, after_s(10))
        before = steps.get(conn, old.id)
        with pytest.raises(Fenced):
            write(conn, old.id, 1)
        assert steps.get(conn, old.id) == before
        write(conn, old.id, 2)


def test_an_unknown_step_is_fenced(state: State) -> None:
    with state.write() as conn, pytest.raises(Fenced, match="does not exist"):
        steps.done(conn, "r-1/place/oss", 1, NOON)


def test_a_fenced_transaction_is_refused_before_it_writes(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn)
    with state.fenced(step.id, 1) as conn:
        steps.done(conn, step.id, 1, NOON)
    with pytest.raises(Fenced), state.fenced(step.id, 1) as conn:
        make_release(conn)
    with state.read() as conn:
        assert steps.get(conn, step.id).state is StepState.DONE
        assert kinds(conn).count("release.requested") == 1


def test_a_running_step_is_revoked_during_its_lease_and_its_worker_is_fenced_out(state: State) -> None:
    with state.write() as conn:
        running = make_running(conn, lease_s=10)
        assert not steps.revoke(conn, "r-1", "oss", (StepKind.FLIP,), NOON), "of another kind"
        assert not steps.revoke(conn, "r-1", "nas", (StepKind.PLACE,), NOON), "of another subject"
        assert steps.revoke(conn, "r-1", "oss", (StepKind.PLACE,), NOON)
        with pytest.raises(Fenced):
            steps.done(conn, running.id, running.attempt, NOON)
        again = steps.get(conn, running.id)
        assert (again.state, again.due_at, again.owner) == (StepState.WAITING, NOON, "")
        assert steps.hand_over(conn, again, NOON).attempt == running.attempt + 1
        assert not steps.revoke(conn, "r-1", "oss", (StepKind.PLACE,), NOON), "nothing of it runs"
