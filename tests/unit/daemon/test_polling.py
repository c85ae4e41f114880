"""Concurrent polls: a model that hangs delays neither the others nor the end of the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from syncd.artifact.names import ModelName
from syncd.daemon.polling import CONCURRENT_POLLS_MAX, SLOW_AFTER_S, Poller
from syncd.daemon.process import Process
from syncd.daemon.settings import Poll
from syncd.reconcile.context import Context
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.state.access import deliveries
from syncd.state.records import Delivery
from syncd.state.releases import releases
from syncd.state.state import State
from syncd.values.source import Candidate

from tests.acceptance.stage import until
from tests.support.rooms import LORA, SDXL, World
from tests.unit.daemon.test_process import PATIENCE_S, POLLING, context_of, running

HOUR_S = 3600.0


class Hanging(DirectoryRegistry):
    """A directory registry some of whose models do not answer until `let` is set."""

    def __init__(self, world: World, *hangs: str) -> None:
        super().__init__(DirectorySettings(world.root, settle_s=0.0))
        self.hangs = hangs
        self.let = threading.Event()
        self.asked: list[str] = []

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        self.asked.append(model or "*")
        if model in {None, *self.hangs}:
            assert self.let.wait(PATIENCE_S)
        return super().discover(model, taking)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "registry")


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path) -> Iterator[State]:
    (tmp_path / "state.db").write_bytes(sqlite_template.read_bytes())
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield state
    state.close()


@pytest.fixture
def hanging(world: World) -> Iterator[Hanging]:
    made = Hanging(world, SDXL)
    yield made
    made.let.set()


@pytest.fixture
def context(world: World, state: State, hanging: Hanging) -> Context:
    made = context_of(world, state)
    return replace(made, registries={"models": hanging}, transfer=replace(made.transfer, grace_s=0.1))


def is_asked_for(state: State, model: str, version: str) -> bool:
    with state.read() as conn:
        return (model, version) in [(each.model, each.ref) for each in releases.recent(conn, 10, None)]


def tell(state: State, version: str, *models: str) -> None:
    with state.write() as conn:
        received = [Delivery("hook", f"{model} {version}", "models", "", model, version) for model in models]
        deliveries.record(conn, received, state.now(conn))


@pytest.mark.parametrize("poll_s", [0.05, HOUR_S], ids=["polls", "hints"])
def test_a_hanging_model_delays_no_other_and_is_polled_once(
    world: World, state: State, context: Context, hanging: Hanging, poll_s: float
) -> None:
    process = Process(context, replace(POLLING, polls=(Poll("models", poll_s, 0.0),)), sole=True)
    with running(process):
        until(lambda: SDXL in hanging.asked, "the hanging poll")
        for version in ("v1", "v2"):
            world.deliver(LORA, version)
            tell(state, version, SDXL, LORA)
            until(partial(is_asked_for, state, LORA, version), f"a release of {version}")
        assert hanging.asked.count(SDXL) == 1
        world.deliver(SDXL, "v1")
        hanging.let.set()
        until(partial(is_asked_for, state, SDXL, "v1"), "the model that hung")


def test_a_process_ends_although_a_poll_hangs(context: Context, hanging: Hanging) -> None:
    with running(Process(context, POLLING, sole=True)):
        until(lambda: SDXL in hanging.asked, "the hanging poll")
    assert not hanging.let.is_set()


def test_hanging_polls_do_not_count_as_concurrent_polls(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [ModelName(f"m{number}") for number in range(CONCURRENT_POLLS_MAX + 2)]
    monkeypatch.setattr("syncd.daemon.polling.served_from", lambda *_: models)
    clock_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock_s)
    begun: list[object] = []
    poller = Poller(context, "models", HOUR_S, auto_release=True, start=begun.append)
    context.draining.set()
    poller.poll()
    assert begun == []
    context.draining.clear()
    poller.poll_reported()
    assert len(begun) == CONCURRENT_POLLS_MAX
    clock_s += SLOW_AFTER_S
    poller.poll_reported()
    assert len(begun) == len(models)
