"""Daemon process: ticks, polls, runs steps and periodic jobs, and drains when it is asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Final, Protocol

import structlog

from syncd.daemon.components import ComponentChecks
from syncd.daemon.health import Health, notify
from syncd.daemon.jobs import ProcessJobs
from syncd.daemon.polling import Poller
from syncd.daemon.schedule import Schedule, StepDetector
from syncd.daemon.settings import ProcessSettings
from syncd.daemon.standby import Member
from syncd.errors import Conflict, SyncdError, Unavailable
from syncd.plan.routing import FleetRole
from syncd.reconcile.context import Context
from syncd.reconcile.controller.attempt import run_attempt
from syncd.reconcile.controller.tick import UNHEARD_S, tick
from syncd.reconcile.steps.handlers import STEP_HANDLERS
from syncd.reconcile.steps.prewarm import release_prewarmed
from syncd.state.access import processes, workers
from syncd.state.db import changes
from syncd.state.releases import releases, steps

log = structlog.get_logger("syncd.daemon")

IDLE_PASS_S: Final = 30.0  # between two passes while nothing is unfinished and nothing changes: a safety
START_AGAIN_S: Final = 1.0  # between two attempts to take over a record that cannot be written
_START_EXTENDED_S: Final = 120  # systemd's TimeoutStartSec, counted anew from each failed attempt


class Service(Protocol):
    """A component with the process's lifetime and its own threads, such as the HTTP API."""

    def start(self) -> None:
        """Start. Raises a SyncdError on failure, and then leaves nothing running."""
        ...

    def stop(self) -> None:
        """Stop, and wait until it has ended. Repeating it is success."""
        ...


class Process:
    """The daemon, or the same work inside `publish`. `run` blocks in the calling thread; `stop` may come from any."""

    def __init__(
        self,
        context: Context,
        settings: ProcessSettings,
        *,
        sole: bool,
        check_lock: Callable[[], object] = lambda: None,
        member: Member | None = None,
    ) -> None:
        """`sole`: no other controls this record (it is locked), so steps of owners that are no worker are orphaned.

        As a `member` of a fleet it says in the record that it is the active controller.

        `check_lock` is called in each pass, and raises Conflict if another process has taken the lock.
        """
        self._context = context
        self._settings = settings
        self._sole = sole
        self._check_lock = check_lock
        self._member = member
        self._host_clock, self._record_clock = StepDetector(), StepDetector()
        self._stepped_s = 0.0  # by a step of the clock that the record has not followed yet
        self._changes = 0  # of the record, that this process was told of
        self._is_busy = True  # a release is unfinished, or that is not known: each tick makes a pass
        registries = [p.registry for p in settings.polls]
        self._checks = ComponentChecks(context, registries, settings.checking.credentials if settings.checking else {})
        self.health: Final = Health(registries, settings.tick_s, self._checks.components)
        self._pollers = {
            p.registry: Poller(
                context,
                p.registry,
                p.every_s,
                auto_release=settings.auto_release,
                changes=lambda: self._changes,
                tell=self._checks.end_poll,
            )
            for p in settings.polls
        }
        self._jobs = ProcessJobs(
            context, settings, self.health, self._checks, self._pollers, lambda: self._changes, member
        )
        self._schedule = Schedule(self._jobs.periodic())

    def run(self, until: Callable[[], bool] = lambda: False, beside: Sequence[Service] = ()) -> None:
        """Work until `stop` is called or `until` returns true (checked after each pass), then drain.

        Services in `beside` start before any work and stop before draining.

        Draining: no step begins, running ones are asked to stop between two effects and are recorded as due
        again, so that the next process continues them.

        Raises:
            Conflict: Another process has taken the lock of the record. This one has drained.
        """
        with ExitStack() as stack:
            for service in beside:
                service.start()
                stack.callback(service.stop)
            self._work(until, stack.close)

    def _work(self, until: Callable[[], bool], before_draining: Callable[[], None]) -> None:
        context = self._context
        if not self._take_over():
            return
        context.state.on_change(self._committed)
        watched = partial(changes.watch, context.state.url, self._changed, context.draining, _tell_unwatched)
        threading.Thread(target=watched, name="changes", daemon=True).start()
        if self._settings.copies_holds:
            threading.Thread(target=self._jobs.read_holds, name="read holds", daemon=True).start()
        else:
            self._jobs.holds_read.set()
        self._schedule.start()
        notify("READY=1")
        log.info(
            "process.started",
            message="The process has started.",
            owner=context.owner,
            registries=[poll.registry for poll in self._settings.polls],
        )
        unheard_s = 0.0 if self._sole else UNHEARD_S  # no other process can have begun what was queued before
        passed_s, is_woken = 0.0, True
        try:
            while not context.draining.is_set():
                self._beat()
                if is_woken or self._is_busy or time.monotonic() > passed_s + IDLE_PASS_S or self._stepped_s:
                    passed_s = time.monotonic()
                    self._pass(unheard_s)
                    unheard_s = UNHEARD_S
                if until():
                    with suppress(SyncdError):  # the process of `publish` ends before the periodic job runs
                        release_prewarmed(context)
                    break
                is_woken = context.wake.wait(self._settings.tick_s)
                context.wake.clear()
        finally:
            before_draining()
            self._drain()

    def _take_over(self) -> bool:
        """Take over what other processes left, and start the engine. False: the process drained before it could.

        A daemon waits for a record that is locked: one that ended would be started again, into the same lock.

        Raises:
            Unavailable: The record cannot be written, and this process works for one release.
        """
        context = self._context
        while not context.draining.is_set():
            self.health.beat()
            try:
                if self._sole:
                    with context.state.write() as conn:
                        now = context.state.now(conn)
                        heard = workers.heard(conn, now, context.lease_s) if context.is_shared else []
                        alive = {each.owner for each in heard if each.role == FleetRole.WORKER}
                        steps.expire_others(conn, {context.owner, *alive}, now)
                context.engine.serve(
                    self._settings.slots, partial(run_attempt, context, STEP_HANDLERS, only=self._settings.only)
                )
            except Unavailable as error:
                if self._settings.only:
                    raise
                notify(f"EXTEND_TIMEOUT_USEC={_START_EXTENDED_S * 1_000_000}")
                log.warning(
                    "process.waiting",
                    message="The record cannot be written; the process starts its work as soon as it can.",
                    error=error.message,
                    hint=error.hint,
                )
                context.draining.wait(START_AGAIN_S)
            else:
                return True
        return False

    def stop(self) -> None:
        """Request `run` to end. Safe from a signal handler; repeating it is harmless."""
        self._context.draining.set()
        self._context.wake.set()

    def _committed(self) -> None:
        """Called after a commit of this process. What needs a pass for it sets `wake` itself."""
        self._changes += 1
        self._context.engine.wake()

    def _changed(self) -> None:
        """The record has changed, and another process may have changed it: pass over it, and look for attempts."""
        self._committed()
        self._context.wake.set()

    def _beat(self) -> None:
        notify("WATCHDOG=1")
        self.health.beat()
        host_s = self._host_clock.step_s(time.time)
        if host_s:
            self._schedule.run_all()
            self._stepped_s = host_s

    def _pass(self, unheard_s: float) -> None:
        self._is_busy = True
        try:
            self._check_lock()
        except Conflict as lost:
            said = "Another process controls the record; this one ends."
            log.error("lock.lost", message=said, reason=lost.message)  # noqa: TRY400 -- a trace says nothing here
            raise
        except SyncdError as error:  # the state of the lock is unknown: nothing begins until it is known
            log.warning(
                "pass.failed",
                message="A pass over the record failed; the next pass repeats it.",
                error=error.message,
                hint=error.hint,
            )
            return
        try:
            is_busy = self._follow_clock()
            tick(self._context, unheard_s, self._settings.only)
            self._is_busy = is_busy
        except SyncdError as error:  # the record is unreachable; nothing was written, the next pass repeats it
            log.warning(
                "pass.failed",
                message="A pass over the record failed; the next pass repeats it.",
                error=error.message,
                hint=error.hint,
            )
        except Exception:  # the other loop top: a bug in one pass must not end the process
            log.exception("pass.crashed", message="A bug in syncd ended this pass.")

    def _follow_clock(self) -> bool:
        """Run everything that is due by a clock after that clock was stepped: this machine's, or the database's.

        Returns whether a release is unfinished.
        """
        context = self._context
        with context.state.read() as conn:
            record_s = self._record_clock.step_s(lambda: context.state.now(conn).timestamp())
            is_busy = bool(releases.unfinished(conn))
        self._stepped_s = self._stepped_s or record_s
        if self._stepped_s:
            with context.state.write() as conn:
                steps.resume_after_step(conn, context.lease_s, context.state.now(conn))
            self._schedule.run_all()
            log.warning(
                "clock.stepped",
                message="The clock was set, or the machine was suspended. Everything that waits runs now.",
                seconds=round(self._stepped_s, 1),
            )
            self._stepped_s = 0.0
        return is_busy

    def _drain(self) -> None:
        notify("STOPPING=1")
        started = time.monotonic()
        self._context.draining.set()
        self._schedule.stop()
        for poller in self._pollers.values():
            poller.stop(2 * self._context.transfer.grace_s)
        self._context.engine.stop(self._settings.drain_s)
        with suppress(Unavailable), self._context.state.write() as conn:  # else the row says nothing after 30 seconds
            processes.record_gone(conn, self._context.owner, self._context.state.now(conn))
        if self._member is not None:
            self._member.leave()
        seconds = round(time.monotonic() - started, 3)
        log.info("process.stopped", message="The process has stopped.", seconds=seconds)


def _tell_unwatched(error: Exception) -> None:
    said = "Changes by other processes cannot be watched; they are found by polling."
    log.warning("changes.unwatched", message=said, error=" ".join(str(error).split()), seconds=IDLE_PASS_S)


class Stoppable(Protocol):
    """A process that can be asked to end."""

    def stop(self) -> None:
        """Request it to end. Safe from a signal handler; repeating it is harmless."""
        ...


@contextmanager
def stopped_by_signals(process: Stoppable) -> Iterator[None]:
    """Drain the process on SIGTERM and SIGINT. Only in the main thread."""

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        process.stop()

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    assert threading.current_thread() is threading.main_thread()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
