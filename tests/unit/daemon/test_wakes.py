"""A process works when something changes, and reads next to nothing while nothing does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.daemon.process import Process
from syncd.daemon.settings import DEFAULT_SLOTS, ProcessSettings
from syncd.engine.dbos import DbosEngine
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.state.db import changes
from syncd.state.releases import holds, releases
from syncd.state.state import State

from tests.support.rooms import SDXL, World, site
from tests.unit.reconcile.test_overview_statements import statements
from tests.unit.state.making import NOON

PATIENCE_S = 60.0
RARE = ProcessSettings(tick_s=PATIENCE_S, drain_s=10.0, auto_release=True, polls=(), slots=DEFAULT_SLOTS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry")


@pytest.fixture
def state(database_url: str) -> Iterator[State]:
    state = State(database_url)
    yield state
    state.close()


def test_a_commit_of_another_process_is_seen(database_url: str, state: State) -> None:
    seen, stop = threading.Event(), threading.Event()
    watching = threading.Thread(target=changes.watch, args=(state.url, seen.set, stop))
    watching.start()
    other = State(database_url)
    try:
        for _ in range(200):  # until the watch has begun
            with other.write() as conn:
                holds.put(conn, SDXL, "ops", "test", NOON)
            if seen.wait(0.1):
                break
        assert seen.is_set()
    finally:
        stop.set()
        watching.join()
        other.close()


def test_a_change_is_told_after_its_commit_and_only_then(state: State) -> None:
    told: list[bool] = []

    def note() -> None:
        with state.read() as conn:
            told.append(holds.find(conn, SDXL) is not None)

    state.on_change(note)
    with pytest.raises(KeyError), state.write() as conn:
        holds.put(conn, SDXL, "ops", "test", NOON)
        raise KeyError
    with state.write() as conn:
        state.now(conn)
    assert told == []
    with state.write() as conn:
        holds.put(conn, SDXL, "ops", "test", NOON)
    assert told == [True]


def test_a_release_that_another_process_requests_is_live_long_before_the_next_tick(
    world: World, state: State, database_url: str
) -> None:
    world.deliver(SDXL, "v1")
    engine, other = DbosEngine(database_url), State(database_url)
    process = Process(site(world, state, engine=engine).context, RARE, sole=True)
    running = threading.Thread(target=process.run)
    running.start()
    try:
        release = publish(site(world, other).requester, SDXL, "v1")
        ended = threading.Event()
        for _ in range(int(PATIENCE_S * 10)):
            with other.read() as conn:
                if releases.get(conn, release.id).phase is ReleasePhase.LIVE:
                    ended.set()
                    break
            ended.wait(0.05)
        assert ended.is_set()
    finally:
        process.stop()
        running.join()
        engine.close()
        other.close()


def test_an_idle_process_reads_nothing_from_tick_to_tick(world: World, state: State, database_url: str) -> None:
    engine, turns, counts = DbosEngine(database_url), 0, []
    process = Process(site(world, state, engine=engine).context, replace(RARE, tick_s=0.02), sole=True)
    with statements() as told:

        def until() -> bool:
            nonlocal turns
            turns += 1
            if turns in {30, 130}:
                counts.append(len(told))
            return turns >= 130

        process.run(until=until)
    engine.close()
    first, last = counts
    assert last - first <= 30, told[first:last]  # a heartbeat, a look for prewarmed instances, and one pass after them


def test_an_idle_process_has_as_many_threads_however_long_it_runs(
    world: World, state: State, database_url: str
) -> None:
    engine, turns, counts = DbosEngine(database_url), 0, []
    process = Process(site(world, state, engine=engine).context, replace(RARE, tick_s=0.02), sole=True)

    def until() -> bool:
        nonlocal turns
        turns += 1
        if turns in {60, 120}:
            counts.append(threading.active_count())
        return turns >= 120

    process.run(until=until)
    engine.close()
    assert counts[1] <= counts[0] + 1
