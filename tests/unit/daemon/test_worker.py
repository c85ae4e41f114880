"""Workers of regions beside a controller: who runs which step, cordons, drains, and mounts that go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.daemon.worker import PROOF_S, MountProofs, Worker, WorkerSettings
from syncd.engine.memory import MemoryEngine
from syncd.errors import Conflict
from syncd.plan.binding import ModelLocation
from syncd.plan.phases import ReleasePhase
from syncd.plan.routing import Routing
from syncd.reconcile.context import Context
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import publish
from syncd.state.access import workers
from syncd.state.releases import releases, steps
from syncd.state.state import State
from syncd.store.nas.store import NasSettings, NasStore
from syncd.targets.versioned_tree import TreeTarget
from syncd.values.function import MountKind

from tests.support.rooms import FLEET, SDXL, TRANSFER, Site, World, site

PATIENCE_S = 60.0
LEASE_S = 0.8


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Hall:
    """A controller by hand, and an engine that workers in threads share with it."""

    def __init__(self, tmp_path: Path, url: str) -> None:
        self.world = World(tmp_path / "registry")
        self.state = State(url)
        self.engine = MemoryEngine()
        self.here: Site = site(
            self.world, self.state, "controller", engine=self.engine, lease_s=LEASE_S,
            routing=lambda conn: Routing(workers.served(conn, self.state.now(conn), LEASE_S), is_strict=True),
        )  # fmt: skip
        self.failed: list[Exception] = []

    def worker(self, region: str, engine: MemoryEngine | None = None, owner: str = "") -> Worker:
        made = site(self.world, self.state, owner or f"w-{region}", engine=engine or self.engine, lease_s=LEASE_S)
        return Worker(replace(made.context, is_shared=True), WorkerSettings(f"worker-{region}", region, 5.0))

    @contextmanager
    def working(self, worker: Worker) -> Iterator[Worker]:
        def run() -> None:
            try:
                worker.run()
            except Conflict as error:
                self.failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            thread.join()

    def member(self, name: str) -> workers.FleetMember:
        with self.state.read() as conn:
            return workers.get(conn, name)

    def is_known(self, name: str) -> bool:
        with self.state.read() as conn:
            return name in {each.name for each in workers.every(conn)}

    def ask(self, name: str, *, cordoned: bool, draining: bool = False) -> None:
        with self.state.write() as conn:
            workers.ask(conn, name, "ops", self.state.now(conn), cordoned=cordoned, draining=draining)


@pytest.fixture
def hall(tmp_path: Path, database_url: str) -> Iterator[Hall]:
    hall = Hall(tmp_path, database_url)
    yield hall
    hall.state.close()


def test_steps_of_a_region_wait_for_its_worker_and_run_there(hall: Hall) -> None:
    hall.world.deliver(SDXL, "v1")
    release = publish(hall.here.requester, SDXL, "v1")
    with hall.working(hall.worker("hangzhou")):
        until(lambda: hall.is_known("worker-hangzhou"), "the worker to come")
        resolved_by_hand(hall, release.id)
        place = f"{release.id}/place/region:hangzhou"
        until(lambda: tick(hall.here.context) or state_of(hall, place) == "done", "the first region to be filled")
        until(lambda: state_of(hall, place) == "done", "the first region to be filled")
        assert state_of(hall, f"{release.id}/place/region:singapore") == "queued", "nobody serves it"
    assert not hall.is_known("worker-hangzhou"), "it left in order"
    owners = {each.detail.get("owner") for each in hall.here.events(release.id) if each.kind == "step.started"}
    assert owners == {"controller", "w-hangzhou"}


def resolved_by_hand(hall: Hall, release_id: str) -> None:
    """The controller's own step, run in this thread; the engine is busy with the worker."""
    from syncd.reconcile.controller.attempt import run_attempt
    from syncd.reconcile.steps.handlers import STEP_HANDLERS

    tick(hall.here.context)
    run_attempt(hall.here.context, STEP_HANDLERS, f"{release_id}/resolve/version", 1)
    tick(hall.here.context)
    with hall.state.read() as conn:
        assert releases.get(conn, release_id).phase is ReleasePhase.PLACING


def state_of(hall: Hall, step_id: str) -> str:
    with hall.state.read() as conn:
        return steps.get(conn, step_id).state.value


def test_a_cordoned_worker_begins_nothing_and_an_uncordoned_one_does(hall: Hall) -> None:
    worker = hall.worker("hangzhou")
    with hall.working(worker):
        until(lambda: worker.may_serve("control:hangzhou"), "the worker to serve")
        hall.ask("worker-hangzhou", cordoned=True)
        until(lambda: not worker.may_serve("control:hangzhou"), "the cordon to be heard")
        hall.ask("worker-hangzhou", cordoned=False)
        until(lambda: worker.may_serve("control:hangzhou"), "the cordon to be lifted")


def test_a_draining_worker_gives_up_what_it_runs_and_stays(hall: Hall) -> None:
    worker = hall.worker("hangzhou")
    context: Context = worker._context
    with hall.working(worker):
        until(lambda: worker.may_serve("control:hangzhou"), "the worker to serve")
        hall.ask("worker-hangzhou", cordoned=True, draining=True)
        until(context.yielding.is_set, "the drain to be heard")
        hall.ask("worker-hangzhou", cordoned=False)
        until(lambda: not context.yielding.is_set(), "the drain to be over")
        assert worker.may_serve("control:hangzhou")


def test_a_worker_whose_name_another_process_took_leaves(hall: Hall) -> None:
    worker = hall.worker("hangzhou")
    with hall.working(worker):
        until(lambda: worker.may_serve("control:hangzhou"), "the worker to serve")
        with hall.state.write() as conn:
            workers.enter(
                conn, "worker-hangzhou", owner="other", role="worker", region="hangzhou", capabilities={}, version="1",
                lease_s=LEASE_S, now=hall.state.now(conn), is_dead=lambda _owner: True,
            )  # fmt: skip
        until(lambda: bool(hall.failed), "the worker to leave")
    assert "called worker-hangzhou by now" in str(hall.failed[0])
    assert hall.member("worker-hangzhou").owner == "other"


def test_a_worker_that_the_record_does_not_hear_of_begins_nothing(hall: Hall) -> None:
    worker = hall.worker("hangzhou")
    assert not worker.may_serve("control:hangzhou")


def test_a_nas_is_served_while_what_is_written_there_reads_back(hall: Hall, tmp_path: Path) -> None:
    mount, now_s = tmp_path / "mount", [0.0]
    mount.mkdir()
    (mount / "marker").touch()
    nas = TreeTarget("nas", NasStore(NasSettings(root=mount, marker="marker")), TRANSFER.retry)
    topology = replace(
        FLEET, places={**FLEET.places, "nas": ModelLocation(MountKind.NAS, "server", "")},
        regions={**FLEET.regions, "nas": "hangzhou"},
    )  # fmt: skip
    context = replace(hall.here.context, topology=topology, targets={**hall.here.context.targets, "nas": nas})
    proofs = MountProofs(context, {"nas:nas": "nas"}, lambda: now_s[0])
    assert not proofs.is_proven("nas:nas")
    assert proofs.faults() == {"nas:nas": "the mount has not answered"}
    proofs.prove()
    assert proofs.is_proven("nas:nas")
    assert proofs.is_proven("control:hangzhou")
    assert proofs.faults() == {}
    assert list(mount.rglob("*.json")) == [], "the proof is cleared away"
    now_s[0] += PROOF_S
    assert not proofs.is_proven("nas:nas"), "a mount that hangs gives no new proof"
    proofs.prove()
    assert proofs.is_proven("nas:nas")
    (mount / "marker").unlink()
    proofs.prove()
    assert not proofs.is_proven("nas:nas")
    assert "not mounted" in proofs.faults()["nas:nas"] or "marker" in proofs.faults()["nas:nas"]
