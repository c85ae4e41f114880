"""Workers that die or become silent in the middle of a step, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import syncd
from syncd.engine.dbos import DbosEngine
from syncd.errors import Fenced
from syncd.plan.phases import StepState
from syncd.state.records import Step
from syncd.state.releases import steps
from syncd.state.state import State

from tests.unit.state.making import make_step

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda manner: stack.enter_context(_worker(database_url, manner))


@contextmanager
def _worker(url: str, manner: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.engine.worker", url, manner],
        cwd=Path(syncd.__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def engine(database_url: str) -> Iterator[DbosEngine]:
    engine = DbosEngine(database_url)
    yield engine
    engine.close()


def hear(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == word


def submit_new(state: State, engine: DbosEngine) -> Step:
    with state.write() as conn:
        step = steps.hand_over(conn, make_step(conn), state.now(conn))
        engine.submit(conn, step.id, step.attempt, step.queue, 0)
        return step


def take_over(state: State, engine: DbosEngine) -> Step:
    """The controller's takeover of an expired lease, an hour later by its clock."""
    with state.write() as conn:
        later = state.now(conn) + timedelta(hours=1)
        [lost] = steps.expired(conn, later)
        step = steps.hand_over(conn, lost, later)
        engine.submit(conn, step.id, step.attempt, step.queue, 0)
    engine.cancel(lost.id, lost.attempt)
    return step


def test_a_killed_workers_step_is_done_by_another_and_its_own_write_is_refused(
    state: State, engine: DbosEngine, start: Start
) -> None:
    first = submit_new(state, engine)
    victim = start("waits")
    hear(victim, "serving")
    hear(victim, "begun")
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    with state.read() as conn:
        assert steps.get(conn, first.id).state is StepState.RUNNING
        assert steps.expired(conn, state.now(conn)) == []
    second = take_over(state, engine)
    successor = start("ends")
    for word in ("serving", "begun", "done"):
        hear(successor, word)
    with pytest.raises(Fenced), state.fenced(first.id, first.attempt):
        pass
    with state.read() as conn:
        ended = steps.get(conn, first.id)
    assert (ended.state, ended.attempt, ended.failures) == (StepState.DONE, second.attempt, 0)


def test_a_worker_that_went_silent_and_wakes_up_is_fenced_out(state: State, engine: DbosEngine, start: Start) -> None:
    submit_new(state, engine)
    zombie = start("waits")
    hear(zombie, "serving")
    hear(zombie, "begun")
    take_over(state, engine)
    successor = start("ends")
    for word in ("serving", "begun", "done"):
        hear(successor, word)
    with state.read() as conn:
        before = steps.of_release(conn, "r-1")
    said, _ = zombie.communicate("go on\n", timeout=30)
    assert said.strip() == "fenced"
    with state.read() as conn:
        assert steps.of_release(conn, "r-1") == before
