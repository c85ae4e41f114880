"""Life cycle of a process: it works until it is asked to stop, and leaves nothing half recorded."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from syncd.daemon.jobs import _HOLDS_READ_S
from syncd.daemon.process import Process, stopped_by_signals
from syncd.daemon.settings import DEFAULT_SLOTS, Poll, ProcessSettings
from syncd.engine.memory import MemoryEngine
from syncd.errors import Unavailable
from syncd.plan.phases import ReleasePhase, StepState
from syncd.reconcile.context import Context
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import publish
from syncd.state.access import processes
from syncd.state.records import Prewarm
from syncd.state.releases import releases, steps
from syncd.state.serving import prewarms
from syncd.state.state import State

from tests.support.rooms import DRAW, LEASE_S, SDXL, World, site

PATIENCE_S = 30.0
SETTINGS = ProcessSettings(tick_s=0.02, drain_s=10.0, auto_release=True, polls=(), slots=DEFAULT_SLOTS)
POLLING = replace(SETTINGS, polls=(Poll("models", 0.05, 0.0),))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry")


@pytest.fixture
def state(database_url: str) -> Iterator[State]:
    state = State(database_url)
    yield state
    state.close()


@pytest.fixture
def impatient(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """A SQLite record whose writers wait for a lock for a moment only."""
    monkeypatch.setattr("syncd.state.state.BUSY_TIMEOUT_MS", 50)
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield state
    state.close()


def context_of(world: World, state: State, owner: str = "worker-1") -> Context:
    return site(world, state, owner, engine=MemoryEngine()).context


def phase_of(state: State, release_id: str) -> ReleasePhase:
    with state.read() as conn:
        return releases.get(conn, release_id).phase


def ask(state: State, world: World, version: str) -> str:
    world.deliver(SDXL, version)
    return publish(site(world, state).requester, SDXL, version).id


def limited(done: Callable[[], bool]) -> Callable[[], bool]:
    deadline = time.monotonic() + PATIENCE_S

    def until() -> bool:
        assert time.monotonic() < deadline
        return done()

    return until


@contextmanager
def running(process: Process) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        yield thread
    finally:
        process.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_it_carries_out_a_release_and_stops_when_nothing_is_left(world: World, state: State) -> None:
    release_id = ask(state, world, "v1")
    process = Process(context_of(world, state), SETTINGS, sole=True)
    process.run(limited(lambda: phase_of(state, release_id) is ReleasePhase.LIVE))
    assert len(world.serves("singapore")) == 1


def test_a_poll_alone_leads_to_a_release(world: World, state: State) -> None:
    world.deliver(SDXL, "v1")
    context = context_of(world, state)

    def is_live() -> bool:
        with state.read() as conn:
            latest = releases.latest(conn, SDXL)
        return latest is not None and latest.phase is ReleasePhase.LIVE

    Process(context, POLLING, sole=True).run(limited(is_live))


def test_the_first_poll_waits_for_no_copies_of_holds_where_none_are_read(world: World, state: State) -> None:
    process = Process(context_of(world, state), POLLING, sole=True)
    began_s = time.monotonic()
    process.run(limited(lambda: process.health.unpolled() == ()))
    assert time.monotonic() - began_s < _HOLDS_READ_S


def test_a_failed_periodic_job_runs_again(world: World, state: State) -> None:
    hidden = world.root.rename(world.root.with_name("hidden"))
    passes: list[int] = []

    def until() -> bool:
        passes.append(1)
        if len(passes) == 10:
            hidden.rename(world.root)
            world.deliver(SDXL, "v1")
        with state.read() as conn:
            return releases.latest(conn, SDXL) is not None

    Process(context_of(world, state), POLLING, sole=True).run(limited(until))


def test_a_draining_process_runs_no_periodic_jobs(world: World, state: State) -> None:
    world.deliver(SDXL, "v1")
    context = context_of(world, state)
    context.draining.set()
    Process(context, POLLING, sole=True).run()
    with state.read() as conn:
        assert releases.latest(conn, SDXL) is None


def test_it_records_that_it_is_alive_and_that_it_has_stopped(world: World, state: State) -> None:
    seen: list[str] = []

    def until() -> bool:
        with state.read() as conn:
            seen.extend(process.owner for process in processes.alive(conn, state.now(conn)))
        return bool(seen)

    Process(context_of(world, state), SETTINGS, sole=True).run(limited(until))
    assert set(seen) == {"worker-1"}
    with state.read() as conn:
        assert processes.alive(conn, state.now(conn)) == []


def test_steps_that_run_during_a_stop_are_due_again_at_once(world: World, state: State) -> None:
    release_id = ask(state, world, "v1")
    context = replace(context_of(world, state), lease_s=0.2)
    entered, stopped = threading.Event(), threading.Event()
    real = world.runtimes["singapore"]

    class Slow(type(real)):  # type: ignore[misc]
        def stage(self, *_: object, waiting: Callable[[str], None], **__: object) -> None:
            entered.set()
            while True:
                waiting("the platform prepares")
                stopped.wait(0.01)

    context = replace(context, runtimes={**context.runtimes, "singapore": Slow(real.answers)})
    with state.read() as conn:
        assert releases.get(conn, release_id).phase is ReleasePhase.REQUESTED
    slow = context.runtimes["singapore"]
    slow.functions.update(real.functions)  # type: ignore[attr-defined]
    with running(Process(context, SETTINGS, sole=True)):
        assert entered.wait(PATIENCE_S)
    with state.read() as conn:
        found = {step.id: step for step in steps.of_release(conn, release_id)}
    step = found[f"{release_id}/stage/draw-sg"]
    assert (step.state, step.failures, step.owner) == (StepState.WAITING, 0, "")
    assert not [s for s in found.values() if s.state is StepState.RUNNING]
    again = Process(context_of(world, state, "worker-2"), SETTINGS, sole=True)
    again.run(limited(lambda: phase_of(state, release_id) is ReleasePhase.LIVE))


@pytest.mark.parametrize("sole", [True, False])
def test_the_only_process_takes_over_from_a_killed_one_at_once(world: World, state: State, sole: bool) -> None:  # noqa: FBT001 -- pytest gives it
    release_id = ask(state, world, "v1")
    killed = site(world, state, "killed")
    tick(killed.context)
    key = killed.engine.take()
    assert key is not None
    with state.write() as conn:
        steps.begin(conn, *key, "killed", LEASE_S, state.now(conn))
    passes: list[int] = []

    def until() -> bool:
        passes.append(1)
        return phase_of(state, release_id) is ReleasePhase.LIVE if sole else len(passes) > 5

    Process(context_of(world, state), SETTINGS, sole=sole).run(limited(until))
    with state.read() as conn:
        step = steps.get(conn, key[0])
    assert (step.attempt > 1) is sole, "another process may be alive behind that lease"


@pytest.mark.parametrize("error", [Unavailable("the record is away"), ZeroDivisionError("a bug")])
def test_a_pass_that_fails_does_not_end_the_process(world: World, state: State, error: Exception) -> None:
    release_id = ask(state, world, "v1")
    context = context_of(world, state)
    failures = [error]

    class Failing(State):
        def now(self, conn: object) -> object:  # type: ignore[override]
            if failures and threading.current_thread() is threading.main_thread():
                raise failures.pop()
            return super().now(conn)  # type: ignore[arg-type]

    failing = Failing(state.url.render_as_string(hide_password=False))
    process = Process(replace(context, state=failing), SETTINGS, sole=False)
    process.run(limited(lambda: phase_of(state, release_id) is ReleasePhase.LIVE))
    assert failures == []
    failing.close()


def test_a_signal_stops_it_and_the_handlers_are_put_back(world: World, state: State) -> None:
    process = Process(context_of(world, state), SETTINGS, sole=True)
    before = signal.getsignal(signal.SIGTERM)
    passes: list[int] = []

    def until() -> bool:
        passes.append(1)
        if len(passes) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    with stopped_by_signals(process):
        process.run(limited(until))
    assert signal.getsignal(signal.SIGTERM) is before
    process.stop()


def test_prewarmed_instances_of_an_ended_release_are_released(world: World, state: State) -> None:
    release_id = ask(state, world, "v1")
    Process(context_of(world, state), SETTINGS, sole=True).run(
        limited(lambda: phase_of(state, release_id) is ReleasePhase.LIVE)
    )
    runtime = world.runtimes["hangzhou"]
    runtime.scale(DRAW, "next", {}, least=2)
    with state.write() as conn:  # the process died here once
        left = Prewarm("draw-hz", "next", release_id, "hangzhou", DRAW, 2, {}, 0, False, False, state.now(conn))
        prewarms.own(conn, left)
    process = Process(context_of(world, state, "worker-2"), SETTINGS, sole=True)
    with running(process):
        deadline = time.monotonic() + PATIENCE_S
        while runtime.scaling(DRAW, "next").target:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_daemon_that_starts_while_the_record_is_locked_waits_and_then_works(world: World, impatient: State) -> None:
    state = impatient
    release = ask(state, world, "v1")
    process = Process(context_of(world, state), SETTINGS, sole=True)
    with sqlite3.connect(str(state.url.database), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with capture_logs() as logs, running(process) as thread:
            deadline = time.monotonic() + PATIENCE_S
            while not any(line["event"] == "process.waiting" for line in logs):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert thread.is_alive()
            assert process.health.is_alive()
            other.execute("ROLLBACK")
            while phase_of(state, release) is not ReleasePhase.LIVE:
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_a_daemon_that_is_stopped_while_the_record_is_locked_ends_in_order(world: World, impatient: State) -> None:
    state = impatient
    with sqlite3.connect(str(state.url.database), isolation_level=None) as other:
        with running(Process(context_of(world, state), SETTINGS, sole=True)):
            with state.read() as conn:
                assert not processes.alive(conn, state.now(conn))
            other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")


def test_a_process_of_one_release_does_not_wait_for_a_locked_record(world: World, impatient: State) -> None:
    state = impatient
    release = ask(state, world, "v1")
    with sqlite3.connect(str(state.url.database), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="database is locked"):
            Process(context_of(world, state), replace(SETTINGS, only=release), sole=True).run()
        other.execute("ROLLBACK")
