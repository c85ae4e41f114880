"""Conformance of an engine. A binding provides `engine`, and `state` in whose transactions attempts are submitted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from syncd.engine.base import Engine, ExecutionStatus
from syncd.errors import Conflict
from syncd.state.state import State

PATIENCE_S = 20.0


class Bodies:
    """Step functions that signal their start and wait until they may end."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, int]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.changed = threading.Condition()
        self.may_end = threading.Event()

    def run(self, step_id: str, attempt: int) -> None:
        with self.changed:
            self.ran.append((step_id, attempt))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.changed.notify_all()
        self.may_end.wait(PATIENCE_S)
        with self.changed:
            self.at_once -= 1
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ran) >= count, PATIENCE_S), self.ran


def eventually(true: Callable[[], bool]) -> None:
    """Poll for a condition without an event."""
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline
        pause.wait(0.01)


class EngineConformance:
    """A subclass binds `engine` and `state` as fixtures."""

    @pytest.fixture
    def bodies(self, engine: Engine) -> Iterator[Bodies]:
        bodies = Bodies()
        yield bodies
        bodies.may_end.set()
        engine.stop(PATIENCE_S)

    def submit(self, engine: Engine, state: State, *steps: str, attempt: int = 1, priority: int = 0) -> None:
        with state.write() as conn:
            for step in steps:
                engine.submit(conn, step, attempt, "q", priority)

    def test_a_submitted_attempt_runs(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        engine.serve({"q": 1}, bodies.run)
        self.submit(engine, state, "r-1/place/oss", attempt=7)
        bodies.wait_for(1)
        assert bodies.ran == [("r-1/place/oss", 7)]
        eventually(lambda: engine.status("r-1/place/oss", 7) is ExecutionStatus.ENDED)

    def test_an_attempt_submitted_before_serving_runs(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        self.submit(engine, state, "a")
        assert engine.status("a", 1) is ExecutionStatus.WAITING
        engine.serve({"q": 1}, bodies.run)
        bodies.wait_for(1)

    def test_an_attempt_submitted_twice_runs_once(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        self.submit(engine, state, "a", "a")
        self.submit(engine, state, "a")
        engine.serve({"q": 4}, bodies.run)
        bodies.wait_for(1)
        eventually(lambda: engine.status("a", 1) is ExecutionStatus.ENDED)
        self.submit(engine, state, "a")
        self.submit(engine, state, "last", priority=9)
        eventually(lambda: engine.status("last", 1) is ExecutionStatus.ENDED)
        assert sorted(bodies.ran) == [("a", 1), ("last", 1)]

    def test_attempts_of_one_step_are_different_things(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        self.submit(engine, state, "a", attempt=1)
        self.submit(engine, state, "a", attempt=2)
        engine.serve({"q": 1}, bodies.run)
        bodies.wait_for(2)
        assert sorted(bodies.ran) == [("a", 1), ("a", 2)]

    def test_a_rolled_back_attempt_is_missing(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()

        def submit_and_fail() -> None:
            with state.write() as conn:
                engine.submit(conn, "lost", 1, "q", 0)
                raise KeyError

        with pytest.raises(KeyError):
            submit_and_fail()
        self.submit(engine, state, "kept")
        engine.serve({"q": 1}, bodies.run)
        eventually(lambda: engine.status("kept", 1) is ExecutionStatus.ENDED)
        assert bodies.ran == [("kept", 1)]
        assert engine.status("lost", 1) is ExecutionStatus.MISSING

    def test_nothing_runs_before_the_commit(self, engine: Engine, state: State, bodies: Bodies) -> None:
        engine.serve({"q": 2}, bodies.run)
        with state.write() as conn:
            engine.submit(conn, "a", 1, "q", 0)
            assert engine.status("a", 1) is ExecutionStatus.MISSING
            assert not bodies.ran
        bodies.wait_for(1)

    def test_no_more_run_at_once_than_there_are_slots(self, engine: Engine, state: State, bodies: Bodies) -> None:
        engine.serve({"q": 2}, bodies.run)
        self.submit(engine, state, *"abcde")
        bodies.wait_for(2)
        assert sorted(engine.status(step, 1).value for step in "abcde") == ["running"] * 2 + ["waiting"] * 3
        bodies.may_end.set()
        bodies.wait_for(5)
        assert bodies.most_at_once == 2

    def test_a_smaller_priority_runs_first(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        for step, priority in (("late", 5), ("first", 0), ("middle", 3)):
            self.submit(engine, state, step, priority=priority)
        engine.serve({"q": 1}, bodies.run)
        bodies.wait_for(3)
        assert [step for step, _ in bodies.ran] == ["first", "middle", "late"]

    def test_a_queue_that_is_not_served_waits(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        with state.write() as conn:
            engine.submit(conn, "elsewhere", 1, "nas", 0)
            engine.submit(conn, "here", 1, "q", 9)
        engine.serve({"q": 1}, bodies.run)
        eventually(lambda: engine.status("here", 1) is ExecutionStatus.ENDED)
        assert engine.status("elsewhere", 1) is ExecutionStatus.WAITING

    def test_a_full_queue_does_not_hold_up_another(self, engine: Engine, state: State, bodies: Bodies) -> None:
        engine.serve({"q": 1, "nas": 1}, bodies.run)
        self.submit(engine, state, "a", "b")
        bodies.wait_for(1)
        with state.write() as conn:
            engine.submit(conn, "c", 1, "nas", 0)
        bodies.wait_for(2)
        assert ("c", 1) in bodies.ran

    def test_a_cancelled_one_that_waited_never_runs(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        self.submit(engine, state, "a", "b")
        engine.cancel("a", 1)
        engine.cancel("a", 1)
        assert engine.status("a", 1) is ExecutionStatus.ENDED
        engine.serve({"q": 1}, bodies.run)
        eventually(lambda: engine.status("b", 1) is ExecutionStatus.ENDED)
        assert bodies.ran == [("b", 1)]

    def test_cancelling_does_not_interrupt_a_running_body(self, engine: Engine, state: State, bodies: Bodies) -> None:
        engine.serve({"q": 1}, bodies.run)
        self.submit(engine, state, "a")
        bodies.wait_for(1)
        engine.cancel("a", 1)
        assert bodies.at_once == 1
        assert engine.status("a", 1) is ExecutionStatus.ENDED
        self.submit(engine, state, "b")
        assert engine.status("b", 1) is ExecutionStatus.WAITING, "the slot is not free before its body has ended"
        bodies.may_end.set()
        bodies.wait_for(2)

    def test_cancelling_an_unsubmitted_attempt_is_success(self, engine: Engine, state: State) -> None:
        engine.cancel("nothing", 3)
        assert engine.status("nothing", 3) is ExecutionStatus.MISSING

    def test_stop_waits_for_running_attempts(self, engine: Engine, state: State, bodies: Bodies) -> None:
        engine.serve({"q": 1}, bodies.run)
        self.submit(engine, state, "a", "b")
        bodies.wait_for(1)
        stopper = threading.Thread(target=engine.stop, args=(PATIENCE_S,))
        stopper.start()
        assert stopper.is_alive()
        bodies.may_end.set()
        stopper.join(PATIENCE_S)
        assert not stopper.is_alive()
        assert bodies.at_once == 0
        assert engine.status("a", 1) is ExecutionStatus.ENDED
        # The slot may have taken b before it heard of the stop; then b was waited for as well.
        assert engine.status("b", 1) is (ExecutionStatus.ENDED if ("b", 1) in bodies.ran else ExecutionStatus.WAITING)

    def test_stop_does_not_wait_longer_than_its_grace(self, engine: Engine, state: State, bodies: Bodies) -> None:
        engine.serve({"q": 1}, bodies.run)
        self.submit(engine, state, "a")
        bodies.wait_for(1)
        engine.stop(0.0)
        assert bodies.at_once == 1
        engine.stop(0.0)

    def test_serving_begins_again_after_a_stop(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        for step in ("a", "b", "c"):
            engine.serve({"q": 1}, bodies.run)
            self.submit(engine, state, step)
            eventually(lambda step=step: engine.status(step, 1) is ExecutionStatus.ENDED)  # type: ignore[misc]
            engine.stop(PATIENCE_S)
        assert [step for step, _ in bodies.ran] == ["a", "b", "c"]

    def test_serving_twice_is_refused(self, engine: Engine, state: State, bodies: Bodies) -> None:
        engine.serve({"q": 1}, bodies.run)
        with pytest.raises(Conflict, match="serves"):
            engine.serve({"q": 1}, bodies.run)

    def test_only_attempts_that_ended_before_are_deleted(self, engine: Engine, state: State, bodies: Bodies) -> None:
        bodies.may_end.set()
        engine.serve({"q": 1}, bodies.run)
        self.submit(engine, state, "a")
        eventually(lambda: engine.status("a", 1) is ExecutionStatus.ENDED)
        engine.stop(PATIENCE_S)
        self.submit(engine, state, "waits")
        assert engine.forget(datetime.now(UTC) - timedelta(hours=1)) == 0
        assert engine.forget(datetime.now(UTC) + timedelta(seconds=5)) == 1
        assert engine.status("a", 1) is ExecutionStatus.MISSING
        assert engine.status("waits", 1) is ExecutionStatus.WAITING

    def test_of_a_queue_that_may_not_be_served_none_begins_until_it_may(
        self, engine: Engine, state: State, bodies: Bodies
    ) -> None:
        bodies.may_end.set()
        open_queues = {"other"}
        engine.serve({"q": 1, "other": 1}, bodies.run, lambda queue: queue in open_queues)
        self.submit(engine, state, "a")
        with state.write() as conn:
            engine.submit(conn, "b", 1, "other", 0)
        bodies.wait_for(1)
        assert bodies.ran == [("b", 1)]
        open_queues.add("q")
        engine.wake()
        bodies.wait_for(2)
        assert bodies.ran[1] == ("a", 1)
