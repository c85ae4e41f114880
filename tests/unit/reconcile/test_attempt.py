"""One attempt of one step: its lease, its end, and requests to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from syncd.errors import Cancelled, Conflict, Fenced, Invalid, OutcomeUnknown, SyncdError, Unavailable
from syncd.plan.phases import ReleasePhase, StepKind, StepState
from syncd.reconcile.context import Attempt
from syncd.reconcile.controller.attempt import described, run_attempt
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import publish
from syncd.state.records import Step
from syncd.state.releases import steps

from tests.support.rooms import LEASE_S, PATIENCE, SDXL, Site

KEY = "r-1/resolve/version"


@pytest.fixture
def here(on_each: Site) -> Site:
    return on_each


@pytest.fixture
def handed(here: Site) -> Site:
    """A step that was handed over and not begun."""
    publish(here.requester, SDXL, "v1")
    tick(here.context)
    return here


def run(here: Site, body: Callable[[Attempt], None], attempt: int = 1, kind: StepKind = StepKind.RESOLVE) -> Step:
    run_attempt(here.context, {kind: body}, KEY, attempt)
    with here.state.read() as conn:
        return steps.get(conn, KEY)


def failing(error: BaseException) -> Callable[[Attempt], None]:
    def body(_job: Attempt) -> None:
        raise error

    return body


def test_a_body_runs_once_with_a_lease_and_what_its_log_lines_carry(handed: Site) -> None:
    jobs: list[Attempt] = []

    def body(job: Attempt) -> None:
        jobs.append(job)
        with job.context.state.fenced(job.step.id, job.step.attempt) as conn:
            steps.done(conn, job.step.id, job.step.attempt, job.context.state.now(conn))

    assert run(handed, body).state is StepState.DONE
    assert (jobs[0].step.owner, jobs[0].step.state) == ("worker-1", StepState.RUNNING)
    assert described(jobs[0]) == {
        "release": "r-1",
        "model": SDXL,
        "version": "v1",
        "step": "resolve",
        "subject": "version",
        "attempt": 1,
    }
    assert handed.context.wake.is_set()
    run(handed, body)
    assert len(jobs) == 1, "the same attempt again does nothing"


def test_an_attempt_that_is_not_the_current_one_does_nothing(handed: Site) -> None:
    assert run(handed, failing(Invalid("must not run")), attempt=7).state is StepState.QUEUED


@pytest.mark.parametrize("error", [Unavailable("slow"), OutcomeUnknown("lost"), Conflict("moved")])
def test_what_may_pass_is_repeated_later(handed: Site, error: SyncdError) -> None:
    step = run(handed, failing(error))
    assert (step.state, step.failures, step.reason) == (StepState.WAITING, 1, error.message)
    assert step.due_at > handed.world.time


def test_the_servers_own_delay_is_waited_for(handed: Site) -> None:
    step = run(handed, failing(Unavailable("throttled", retry_after_s=500.0)))
    assert (step.due_at - handed.world.time).total_seconds() == pytest.approx(500, abs=1)


def test_what_a_person_must_mend_stalls_at_once(handed: Site) -> None:
    step = run(handed, failing(Invalid("bad name", hint="rename it")))
    assert (step.state, step.reason, step.hint) == (StepState.STALLED, "bad name", "rename it")


def test_a_bug_is_told_as_one_and_does_not_end_the_process(handed: Site) -> None:
    step = run(handed, failing(ZeroDivisionError("by zero")))
    assert step.state is StepState.WAITING
    assert "ZeroDivisionError" in step.reason
    assert "bug" in step.hint


def test_an_undo_is_repeated_for_ever(handed: Site) -> None:
    from syncd.reconcile.controller.attempt import _record_failure

    with handed.state.write() as conn:
        now = handed.state.now(conn)
        step = steps.begin(conn, KEY, 1, "worker-1", LEASE_S, now)
    undo = replace(step, kind=StepKind.UNDO, failures=PATIENCE.failures_max * 10)
    _record_failure(Attempt(handed.context, undo, handed.release("r-1")), Invalid("cannot be right"))
    with handed.state.read() as conn:
        assert steps.get(conn, KEY).state is StepState.WAITING


def test_a_process_that_leaves_gives_the_step_back_at_once(handed: Site) -> None:
    def body(job: Attempt) -> None:
        job.stop.set()
        job.waiting("the platform prepares")

    step = run(handed, body)
    assert (step.state, step.failures) == (StepState.WAITING, 0)
    assert step.due_at <= handed.world.time


def test_a_wait_that_nobody_ended_goes_on(handed: Site) -> None:
    step = run(handed, lambda job: job.waiting("the platform prepares"))
    assert step.state is StepState.RUNNING, "a body records its own end; one that does not is found by its lease"


def hasty(here: Site) -> Site:
    """With leases so short that the beat is quick."""
    return replace(here, context=replace(here.context, lease_s=0.04))


def wait_until_stopped(job: Attempt) -> None:
    assert job.stop.wait(20.0)
    raise Cancelled("stopped")


def test_a_step_that_is_no_longer_wanted_stops_and_is_cancelled(handed: Site) -> None:
    def body(job: Attempt) -> None:
        with job.context.state.write() as conn:
            steps.cancel_open(conn, "r-1", handed.world.time.replace(year=2000))
        wait_until_stopped(job)

    assert run(hasty(handed), body).state is StepState.CANCELLED


def test_a_draining_process_stops_what_runs(handed: Site) -> None:
    def body(job: Attempt) -> None:
        job.context.draining.set()
        wait_until_stopped(job)

    step = run(hasty(handed), body)
    assert (step.state, step.failures) == (StepState.WAITING, 0)


def test_a_step_that_was_taken_away_stops_and_writes_nothing(handed: Site) -> None:
    def body(job: Attempt) -> None:
        with job.context.state.write() as conn:
            step = replace(steps.get(conn, KEY), state=StepState.WAITING)
            now = job.context.state.now(conn)
            steps.postpone(conn, KEY, 1, due_at=now, reason="", failed=False, now=now)
            steps.hand_over(conn, step, now)
        wait_until_stopped(job)

    step = run(hasty(handed), body)
    assert (step.state, step.attempt, step.failures) == (StepState.QUEUED, 2, 0)


def test_a_body_that_meets_the_fence_leaves_the_step_to_the_newer_attempt(handed: Site) -> None:
    assert run(handed, failing(Fenced("a newer one"))).state is StepState.RUNNING


def test_the_lease_is_renewed_and_whoever_asked_is_told_at_each_beat(handed: Site) -> None:
    beats = threading.Semaphore(0)
    leases = []

    def body(job: Attempt) -> None:
        leases.append(job.step.lease_until)
        job.on_beat.append(beats.release)
        for _ in range(2):
            assert beats.acquire(timeout=20.0)

    step = run(hasty(handed), body)
    assert step.lease_until is not None
    assert leases[0] is not None
    assert step.lease_until > leases[0]


def test_a_record_out_of_reach_neither_begins_nor_ends_a_step(handed: Site) -> None:
    class Gone(type(handed.state)):  # type: ignore[misc]
        def write(self) -> object:
            raise Unavailable("the database is gone")

    gone = Gone(handed.state.url.render_as_string(hide_password=False))
    run_attempt(replace(handed.context, state=gone), {}, KEY, 1)
    with handed.state.read() as conn:
        assert steps.get(conn, KEY).state is StepState.QUEUED
    assert handed.release("r-1").phase is ReleasePhase.REQUESTED


def test_an_attempt_that_placed_something_before_it_failed_is_not_counted_as_a_failure(handed: Site) -> None:
    def body(_job: Attempt) -> None:
        error = Unavailable("throttled: 503 SlowDown, 58 of 6 000 calls")
        error.progressed = True
        raise error

    step = run(handed, body)
    assert (step.state, step.failures) == (StepState.WAITING, 0)
    assert step.reason == "throttled: 503 SlowDown, 58 of 6 000 calls"
    assert step.due_at > handed.world.time


def test_an_attempt_that_cannot_renew_its_lease_stops_within_it_where_others_may_go_on(here: Site) -> None:
    shared = replace(here, context=replace(here.context, is_shared=True, lease_s=1.0))
    publish(here.requester, SDXL, "v1")
    tick(here.context)
    seconds: list[float] = []

    def body(job: Attempt) -> None:
        with here.state.write() as conn:  # SQLite: no other writer; PostgreSQL: nobody else gets the step's row
            steps.guard(conn, job.step.id, job.step.attempt)
            began_s = time.monotonic()
            assert job.stop.wait(20)
            seconds.append(time.monotonic() - began_s)
        raise Cancelled("stopped")

    run(shared, body)
    assert seconds
