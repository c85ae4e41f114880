"""Worker of a region: runs the steps of its queues, and leaves every decision to the controller."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Final

import structlog

from syncd.daemon.health import notify
from syncd.daemon.settings import DEFAULT_SLOTS
from syncd.daemon.standby import BEAT_AT_MOST_S, beat_s, is_dead_here
from syncd.errors import Conflict, SyncdError, Unavailable
from syncd.plan.routing import NAS_GROUP, FleetRole, queues_in
from syncd.plan.topology import TRANSFER_QUEUE
from syncd.reconcile.context import Context
from syncd.reconcile.controller.attempt import run_attempt
from syncd.reconcile.steps.handlers import STEP_HANDLERS
from syncd.state.access import workers
from syncd.state.access.workers import FleetMember
from syncd.state.db import changes
from syncd.transfer import abandonable_call

log = structlog.get_logger("syncd.worker")

PROVEN_EVERY_S: Final = 10.0
PROOF_S: Final = 30.0  # a mount whose last proof is older counts as gone
_PROBES: Final = "probes"  # the directory of notes that prove a mount
_START_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Who a worker is. `name` stays over restarts: a person cordons it by that."""

    name: str
    region: str
    drain_s: float


class MountProofs:
    """Proof that each NAS of a region is mounted and writable here: a note is written, read and deleted."""

    def __init__(
        self, context: Context, targets: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`targets` by queue."""
        self._context = context
        self._targets = targets
        self._clock = clock
        self._lock = threading.Lock()
        self._proven_s: dict[str, float] = {}
        self._faults: dict[str, str] = {}

    def prove(self) -> None:
        """Prove every mount anew. One that hangs is abandoned, and counts as gone after `PROOF_S`."""
        for queue, target in self._targets.items():
            try:
                abandonable_call(
                    target, partial(self._write, target), self._context.transfer, self._context.draining,
                    what="a proof of a mount", patience_s=PROVEN_EVERY_S,
                )  # fmt: skip
            except SyncdError as error:
                self._note(queue, error.message)
            else:
                self._note(queue, "")

    def is_proven(self, queue: str) -> bool:
        """Whether the mount behind a queue was proven recently. A queue without one needs no proof."""
        with self._lock:
            proven_s = self._proven_s.get(queue)
            return queue not in self._targets or (proven_s is not None and self._clock() < proven_s + PROOF_S)

    def faults(self) -> dict[str, str]:
        """Why queues are not served."""
        with self._lock:
            said = {queue: fault for queue, fault in self._faults.items() if fault}
        return said | {
            queue: "the mount has not answered"
            for queue in self._targets
            if queue not in said and not self.is_proven(queue)
        }

    def _write(self, name: str) -> None:
        target, note = self._context.targets[name], f"{self._context.owner.replace(':', '-')}-{time.time_ns()}.json"
        data = json.dumps({"owner": self._context.owner}).encode()
        target.put_note(_PROBES, note, data)
        try:
            read = dict(target.notes(_PROBES)).get(note)
            if read != data:
                raise Unavailable(f"{name}: a file that was written a moment ago reads back as something else")
        finally:
            target.delete_note(_PROBES, note)

    def _note(self, queue: str, fault: str) -> None:
        with self._lock:
            was, self._faults[queue] = self._faults.get(queue), fault
            if fault:
                self._proven_s.pop(queue, None)
            else:
                self._proven_s[queue] = self._clock()
        if fault and was != fault:
            log.warning("worker.not_mounted", message="A NAS of the region is not usable here; its steps wait for"
                        " another worker.", queue=queue, error=fault)  # fmt: skip


class Worker:
    """A worker. `run` blocks in the calling thread; `stop` may come from any."""

    def __init__(self, context: Context, settings: WorkerSettings) -> None:
        self._context = context
        self._settings = settings
        self._queues = queues_in(context.topology, settings.region)
        nas = {queue: queue.removeprefix(NAS_GROUP) for queue in self._queues if queue.startswith(NAS_GROUP)}
        self._proofs = MountProofs(context, nas)
        self._member: FleetMember | None = None
        self._heard_s = 0.0
        self._lost: Conflict | None = None

    def run(self) -> None:
        """Work until `stop` is called, then drain: running steps stop between two effects and are due again.

        Raises:
            Conflict: A live process has this worker's name, or took it.
            Invalid: A live process is more than one version of syncd away.
        """
        context = self._context
        self._proofs.prove()
        if not self._enter():
            return
        threading.Thread(target=self._watch, name="changes", daemon=True).start()
        threading.Thread(target=self._prove, name="proofs", daemon=True).start()
        notify("READY=1")
        log.info("worker.started", message="The worker has started.", owner=context.owner, name=self._settings.name,
                 region=self._settings.region, queues=list(self._queues))  # fmt: skip
        try:
            while not context.draining.is_set():
                notify("WATCHDOG=1")
                self._beat()
                context.wake.wait(beat_s(context.lease_s))
                context.wake.clear()
        finally:
            self._drain()
        if self._lost is not None:
            raise self._lost

    def stop(self) -> None:
        """Request `run` to end. Safe from a signal handler; repeating it is harmless."""
        self._context.draining.set()
        self._context.wake.set()

    def may_serve(self, queue: str) -> bool:
        """Whether steps of a queue may begin here: the record heard of this worker, and nothing speaks against it."""
        member = self._member
        is_heard = time.monotonic() < self._heard_s + self._context.lease_s
        is_free = member is not None and not (member.cordoned or member.draining)
        return is_heard and is_free and self._proofs.is_proven(queue)

    def _capabilities(self) -> dict[str, object]:
        queues = [queue for queue in self._queues if self._proofs.is_proven(queue)]
        return {"queues": queues, "faults": self._proofs.faults()}

    def _enter(self) -> bool:
        """Enter the fleet and serve. False: the worker drained before it could."""
        context, settings = self._context, self._settings
        slots = {queue: _slots(queue) for queue in self._queues}
        while not context.draining.is_set():
            try:
                with context.state.write() as conn:
                    self._member = workers.enter(
                        conn, settings.name, owner=context.owner, role=FleetRole.WORKER, region=settings.region,
                        capabilities=self._capabilities(), version=version("syncd"), lease_s=context.lease_s,
                        now=context.state.now(conn), is_dead=is_dead_here,
                    )  # fmt: skip
                self._heard_s = time.monotonic()
                context.engine.serve(slots, partial(run_attempt, context, STEP_HANDLERS), self.may_serve)
            except Unavailable as error:
                log.warning("worker.waiting", message="The record cannot be written; the worker waits for it.",
                            error=error.message, hint=error.hint)  # fmt: skip
                context.draining.wait(_START_AGAIN_S)
            else:
                return True
        return False

    def _beat(self) -> None:
        context, settings = self._context, self._settings
        began_s = time.monotonic()
        try:
            with context.state.write() as conn:
                member = workers.seen(
                    conn, settings.name, context.owner, self._capabilities(), context.state.now(conn), active=False
                )
        except SyncdError as error:
            log.warning("worker.unheard", message="The record could not be told that the worker is alive.",
                        error=error.message)  # fmt: skip
            return
        if member is None:
            self._lost = Conflict(
                f"another process is called {settings.name} by now", hint="give this one another name"
            )
            self.stop()
            return
        before, self._member, self._heard_s = self._member, member, began_s
        if member.draining:
            context.yielding.set()
        else:
            context.yielding.clear()
        if before is None or (before.cordoned, before.draining) != (member.cordoned, member.draining):
            context.engine.wake()

    def _watch(self) -> None:
        def changed() -> None:
            self._context.engine.wake()
            self._context.wake.set()

        changes.watch(self._context.state.url, changed, self._context.draining, _tell_unwatched)

    def _prove(self) -> None:
        while not self._context.draining.wait(PROVEN_EVERY_S):
            self._proofs.prove()
            self._context.engine.wake()

    def _drain(self) -> None:
        notify("STOPPING=1")
        context = self._context
        context.draining.set()
        context.engine.stop(self._settings.drain_s)
        with suppress(SyncdError), context.state.write() as conn:
            workers.gone(conn, self._settings.name, context.owner, context.state.now(conn))
        log.info("worker.stopped", message="The worker has stopped.", name=self._settings.name)


def _slots(queue: str) -> int:
    is_copy = queue.startswith((NAS_GROUP, f"{TRANSFER_QUEUE}:"))
    return 1 if is_copy else max(DEFAULT_SLOTS.values())


def _tell_unwatched(error: Exception) -> None:
    log.warning("changes.unwatched", message="Changes by other processes cannot be watched; they are found by polling.",
                error=" ".join(str(error).split()), seconds=BEAT_AT_MOST_S)  # fmt: skip
