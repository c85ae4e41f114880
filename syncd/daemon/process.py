"""Daemon process: ticks, polls, runs steps and periodic jobs, and drains when it is asked to stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Final, Protocol

import structlog

from syncd.config import Config
from syncd.daemon.base_images import BASE_CHECK_EVERY_S, REBUILD_EVERY_S, BaseImageChecks
from syncd.daemon.components import CHECK_AT_MOST_EVERY_S, CHECK_EVERY_S, ComponentChecks
from syncd.daemon.health import Health, notify
from syncd.daemon.polling import HINTS_EVERY_S, Poller
from syncd.daemon.schedule import PeriodicJob, Schedule, StepDetector
from syncd.errors import Cancelled, Conflict, SyncdError, Unavailable
from syncd.plan.drift import DriftPolicy
from syncd.plan.topology import CONTROL_QUEUE, TRANSFER_QUEUE
from syncd.reconcile.adoption import hold_copies
from syncd.reconcile.adoption.hold_copies import COPIED_EVERY_S, HoldCopies
from syncd.reconcile.context import Context
from syncd.reconcile.controller.attempt import run_attempt
from syncd.reconcile.controller.tick import UNHEARD_S, tick
from syncd.reconcile.discovery.base_images import rebuild
from syncd.reconcile.drift.scan import DriftRules, scan
from syncd.reconcile.gc import retire
from syncd.reconcile.gc.sweep import sweep
from syncd.reconcile.repair.repairs import resume as resume_repairs
from syncd.reconcile.requests.renewed_keys import CHECK_EVERY_S as RENEWED_EVERY_S
from syncd.reconcile.requests.renewed_keys import retry_renewed
from syncd.reconcile.steps.handlers import STEP_HANDLERS
from syncd.reconcile.steps.prewarm import RELEASE_EVERY_S, release_prewarmed
from syncd.state.access import processes
from syncd.state.db import changes
from syncd.state.releases import audit, releases, steps
from syncd.transfer import abandonable_call

log = structlog.get_logger("syncd.daemon")

SWEEP_EVERY_S: Final = 300.0
SEEN_EVERY_S: Final = 5.0
REPAIRS_EVERY_S: Final = 2.0
LINKED_EVERY_S: Final = 60.0
IDLE_PASS_S: Final = 15.0  # between two passes while nothing is unfinished and nothing changes: a safety
REPORT_EVERY_S: Final = 2.0  # how soon a change of health is in the record
START_AGAIN_S: Final = 1.0  # between two attempts to take over a record that cannot be written
_START_EXTENDED_S: Final = 120  # systemd's TimeoutStartSec, counted anew from each failed attempt
_HOLDS_READ_S: Final = 15.0  # how long an unavailable region may delay the first polls
_JOB_S: Final = 600.0  # a periodic job without progress for longer hangs


@dataclass(frozen=True, slots=True)
class Poll:
    """The poll interval of one registry."""

    registry: str
    every_s: float
    jitter_s: float


@dataclass(frozen=True, slots=True)
class DriftSchedule:
    """How often each region is compared with the record, and the policy for drift."""

    every_s: float
    policy: DriftPolicy


@dataclass(frozen=True, slots=True)
class CheckSchedule:
    """How often targets and runtimes are checked, and the access key of each component that has one."""

    every_s: float
    credentials: Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Intervals and concurrency of a process."""

    tick_s: float
    drain_s: float
    auto_release: bool
    polls: tuple[Poll, ...]
    slots: Mapping[str, int]
    drifting: DriftSchedule | None = None  # None: nothing is compared
    watches_bases: bool = False  # checks base images, as configured for each target
    only: str = ""  # the release that a command works for; "": all releases, as in a daemon
    copies_holds: bool = False  # to every target
    links_events: bool = False  # adds settled events to the hash chain
    checking: CheckSchedule | None = None  # None: nothing is checked but what is worked with


DEFAULT_SLOTS: Final[Mapping[str, int]] = {
    CONTROL_QUEUE: 16,  # a stage waits for the platform most of the time: a thread and no CPU
    TRANSFER_QUEUE: 1,  # one copy at a time has the bandwidth, and the memory that transfer.buffer_bytes allows
}


def settings_of(config: Config, *, polls: bool, only: str = "") -> ProcessSettings:
    """The settings of a daemon; without `polls`, and with the id of a release, those of a command that works for it."""
    registries = tuple(Poll(name, r.poll_s, r.jitter_s) for name, r in config.registries.items()) if polls else ()
    return ProcessSettings(
        tick_s=config.policy.tick_s,
        drain_s=config.policy.drain_s,
        auto_release=config.policy.auto_release,
        polls=registries,
        slots=DEFAULT_SLOTS,
        drifting=DriftSchedule(config.policy.drift_poll_s, DriftPolicy(config.policy.drift)) if polls else None,
        watches_bases=polls,
        only=only,
        copies_holds=polls,
        links_events=polls and config.receipts.is_set,
        checking=_checking(config) if polls else None,
    )


def _checking(config: Config) -> CheckSchedule:
    """As often as the registry that is polled most often: what is gone shows within a poll."""
    every_s = min((CHECK_EVERY_S, *(each.poll_s for each in config.registries.values())))
    keys = {
        (section, name): key
        for section, tables in (("targets", config.targets), ("runtimes", config.runtimes))
        for name, table in tables.items()
        if (key := getattr(table, "credentials", None))
    }
    return CheckSchedule(max(CHECK_AT_MOST_EVERY_S, every_s), keys)


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
    ) -> None:
        """`sole`: no other process can work on this record (it is locked), so other owners' steps are orphaned.

        `check_lock` is called in each pass, and raises Conflict if another process has taken the lock.
        """
        self._context = context
        self._settings = settings
        self._sole = sole
        self._check_lock = check_lock
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
        jobs = [self._job(f"poll {p.registry}", p.every_s, self._poll(p.registry), p.jitter_s) for p in settings.polls]
        jobs += [
            self._job(f"webhooks of {name}", HINTS_EVERY_S, poller.poll_reported)
            for name, poller in self._pollers.items()
        ]
        jobs += [
            *self._daemon_jobs(),
            self._job("release prewarmed", RELEASE_EVERY_S, lambda: release_prewarmed(context)),
            self._job("heartbeat", SEEN_EVERY_S, self._record_seen),
            *([self._job("renewed keys", RENEWED_EVERY_S, partial(retry_renewed, context))] if settings.polls else []),
            *self._base_image_jobs(),
            *self._hold_copy_jobs(),
            *self._check_jobs(),
        ]
        self._schedule = Schedule(jobs)
        self._holds_read = threading.Event()

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
            threading.Thread(target=self._read_holds, name="read holds", daemon=True).start()
        else:
            self._holds_read.set()
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
                        steps.expire_others(conn, context.owner, context.state.now(conn))
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
            processes.record_gone(conn, self._context.owner)
        seconds = round(time.monotonic() - started, 3)
        log.info("process.stopped", message="The process has stopped.", seconds=seconds)

    def _poll(self, registry: str) -> Callable[[], object]:
        def poll() -> None:
            self._holds_read.wait(_HOLDS_READ_S)
            if self._context.draining.is_set():
                return
            try:
                self._pollers[registry].poll()
            finally:
                self.health.record_poll(registry)

        return poll

    def _hold_copy_jobs(self) -> list[PeriodicJob]:
        """One job per target: a target that hangs does not block the copies of the others."""
        if not self._settings.copies_holds:
            return []
        world = self._context
        return [
            self._job(f"copies of holds at {name}", COPIED_EVERY_S, HoldCopies(world, name)) for name in world.targets
        ]

    def _check_jobs(self) -> list[PeriodicJob]:
        checking = self._settings.checking
        if checking is None:
            return []
        return [
            *(self._job(f"check of {what}", checking.every_s, check) for what, check in self._checks.jobs()),
            self._job("report of checks", min(REPORT_EVERY_S, checking.every_s), self._checks.write),
        ]

    def _read_holds(self) -> None:
        """Polls wait for it: a record that was restored from a backup must not release what was held since."""
        try:
            hold_copies.read_back(self._context)
        except SyncdError as error:
            log.warning("hold.copies_unread", message="Copies of holds could not be read.", reason=error.message)
        finally:
            self._holds_read.set()

    def _daemon_jobs(self) -> list[PeriodicJob]:
        """Jobs without a release: garbage collection, drift scans per region, and interrupted retirements."""
        drifting, context = self._settings.drifting, self._context
        if self._settings.only:
            return []
        linking = [self._job("event links", LINKED_EVERY_S, self._link_events)] if self._settings.links_events else []
        sweeping = self._job("sweep", SWEEP_EVERY_S, lambda: sweep(context))
        resume = self._job("retirements", SWEEP_EVERY_S, partial(retire.resume, context, context.draining))
        # Its calls are watched each by itself: a copy of hours must not be abandoned as one job that hangs.
        repairs = PeriodicJob("repairs", REPAIRS_EVERY_S, 0.0, partial(resume_repairs, context))
        if drifting is None:
            return [sweeping, resume, repairs, *linking]
        rules = DriftRules(drifting.policy, context.gates)
        jitter_s = drifting.every_s / 10  # so that regions, and daemons, do not scan at the same moment
        scans = {
            name: partial(scan, context, name, rules, context.draining, period_s=drifting.every_s)
            for name in context.runtimes
        }
        return [
            sweeping,
            resume,
            repairs,
            *linking,
            *(self._job(f"drift {n}", drifting.every_s, do, jitter_s) for n, do in scans.items()),
        ]

    def _base_image_jobs(self) -> list[PeriodicJob]:
        """Jobs that check base images, one per target, and one that creates the releases that are due."""
        context = self._context
        if not (self._settings.watches_bases and context.topology.watched):
            return []
        checks = [
            self._job(
                f"base of {name}", min(BASE_CHECK_EVERY_S, watch.every_s), BaseImageChecks(context, name, watch.every_s)
            )
            for name, watch in context.topology.watched.items()
        ]
        return [*checks, self._job("new bases", REBUILD_EVERY_S, partial(rebuild, context))]

    def _link_events(self) -> None:
        with self._context.state.write() as conn:
            audit.extend(conn)

    def _record_seen(self) -> None:
        context = self._context
        if not self.health.is_alive():  # a daemon whose loop has stopped works on nothing: `health` must say so
            return
        with context.state.write() as conn:
            processes.record_seen(conn, context.owner, socket.gethostname(), os.getpid(), context.state.now(conn))

    def _job(self, name: str, every_s: float, work: Callable[[], object], jitter_s: float = 0.0) -> PeriodicJob:
        """A periodic job. If it hangs on a mount it is abandoned, and does not keep the process from ending."""

        def run() -> None:
            if self._context.draining.is_set():
                return
            try:
                abandonable_call(
                    name, work, self._context.transfer, self._context.draining, what="a periodic job", patience_s=_JOB_S
                )
            except Cancelled:
                return
            except SyncdError as error:
                log.warning(
                    "job.failed",
                    message="A periodic job failed; it will run again.",
                    job=name,
                    error=error.message,
                    hint=error.hint,
                )

        return PeriodicJob(name, every_s, jitter_s, run)


def _tell_unwatched(error: Exception) -> None:
    said = "Changes by other processes cannot be watched; they are found by polling."
    log.warning("changes.unwatched", message=said, error=" ".join(str(error).split()), seconds=IDLE_PASS_S)


@contextmanager
def stopped_by_signals(process: Process) -> Iterator[None]:
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
