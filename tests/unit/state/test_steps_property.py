"""Property: whatever two workers and a controller do to one step, in any order, it is done at most once."""

from __future__ import annotations

import contextlib

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from syncd.errors import Conflict, Fenced
from syncd.plan.phases import STEP_ENDS, StepState
from syncd.state.records import Step
from syncd.state.releases import steps
from syncd.state.state import State

from tests.unit.state.making import after_s, make_step

LEASE_S = 5
WHATS = ["read", "hand_over", "begin", "beat", "postpone", "fail", "stall", "done"]

# What happens, to which of the two workers, and how many seconds pass before it.
MOVES = st.tuples(st.sampled_from(WHATS), st.integers(0, 1), st.sampled_from([0, 1, LEASE_S]))


class Run:
    """One step, a controller that decides on a possibly outdated read, and two workers with an attempt each."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.clock_s = 0
        with state.write() as conn:
            self.seen = make_step(conn)
        self.attempts = [0, 0]
        self.begun: list[int] = []
        self.ended: list[int] = []

    def move(self, what: str, worker: int, passes_s: int) -> None:
        self.clock_s += passes_s
        with contextlib.suppress(Fenced, Conflict), self.state.write() as conn:
            before = steps.get(conn, self.seen.id)
            if what in {"read", "hand_over"}:
                self.control(conn, what, worker, before)
                return
            attempt = self.attempts[worker]
            self.work(conn, what, attempt)
            # It got through, so nothing newer owns the step and it had not ended.
            assert attempt == before.attempt
            assert before.state not in STEP_ENDS
            assert before.state is (StepState.QUEUED if what == "begin" else StepState.RUNNING)

    def control(self, conn: sa.Connection, what: str, worker: int, before: Step) -> None:
        if what == "read":
            self.seen = before
            return
        after = steps.hand_over(conn, self.seen, after_s(self.clock_s))
        assert after.attempt == before.attempt + 1
        assert before.state not in STEP_ENDS
        if before.state is StepState.RUNNING:
            assert before.lease_until is not None
            assert before.lease_until <= after_s(self.clock_s)
        self.attempts[worker] = after.attempt

    def work(self, conn: sa.Connection, what: str, attempt: int) -> None:
        step_id, now = self.seen.id, after_s(self.clock_s)
        match what:
            case "begin":
                steps.begin(conn, step_id, attempt, "worker", LEASE_S, now)
                self.begun.append(attempt)
            case "beat":
                steps.renew(conn, step_id, attempt, LEASE_S, now)
            case "done":
                steps.done(conn, step_id, attempt, now)
                self.ended.append(attempt)
            case "stall":
                steps.stall(conn, step_id, attempt, "why", "what to do", now)
                self.ended.append(attempt)
            case _:
                steps.postpone(conn, step_id, attempt, due_at=now, reason=what, failed=what == "fail", now=now)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(MOVES, max_size=25))
def test_a_step_ends_at_most_once_and_no_attempt_begins_twice(state: State, moves: list[tuple[str, int, int]]) -> None:
    run = Run(state)  # a release, and so a step, of its own: the database is shared by all examples
    for move in moves:
        run.move(*move)
    assert len(run.ended) <= 1
    assert len(run.begun) == len(set(run.begun))
    with state.read() as conn:
        assert (steps.get(conn, run.seen.id).state in STEP_ENDS) == bool(run.ended)
