"""Periodic jobs of a process: polls, checks, and what belongs to no release."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from syncd.daemon.base_images import BASE_CHECK_EVERY_S, REBUILD_EVERY_S, BaseImageChecks
from syncd.daemon.components import ComponentChecks
from syncd.daemon.health import Health
from syncd.daemon.polling import HINTS_EVERY_S, Poller
from syncd.daemon.quiet import WhenChanged
from syncd.daemon.schedule import PeriodicJob
from syncd.daemon.settings import ProcessSettings
from syncd.daemon.standby import Member, beat_s
from syncd.errors import Cancelled, SyncdError
from syncd.reconcile.adoption import hold_copies
from syncd.reconcile.adoption.hold_copies import COPIED_EVERY_S, HoldCopies
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.base_images import rebuild
from syncd.reconcile.drift.scan import DriftRules, scan
from syncd.reconcile.gc import retention, retire
from syncd.reconcile.gc.sweep import sweep
from syncd.reconcile.repair.repairs import resume as resume_repairs
from syncd.reconcile.repair.scrub import Scrub
from syncd.reconcile.requests.renewed_keys import CHECK_EVERY_S as RENEWED_EVERY_S
from syncd.reconcile.requests.renewed_keys import retry_renewed
from syncd.reconcile.steps.prewarm import RELEASE_EVERY_S, release_prewarmed
from syncd.state.access import processes
from syncd.state.releases import audit
from syncd.transfer import abandonable_call

log = structlog.get_logger("syncd.daemon")

SWEEP_EVERY_S: Final = 300.0
SEEN_EVERY_S: Final = 10.0
FORGET_EVERY_S: Final = 600.0
FORGOTTEN_AFTER: Final = timedelta(days=1)  # of the engine's rows: the record never submits such an attempt again
REPAIRS_EVERY_S: Final = 2.0
SCRUB_EVERY_S: Final = 5.0
LINKED_EVERY_S: Final = 60.0
REPORT_EVERY_S: Final = 2.0  # how soon a change of health is in the record
_HOLDS_READ_S: Final = 15.0  # how long an unavailable region may delay the first polls
_JOB_S: Final = 600.0  # a periodic job without progress for longer hangs


class ProcessJobs:
    """The periodic jobs of a process. One that hangs is abandoned."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what a process has, and tests leave out
        self,
        context: Context,
        settings: ProcessSettings,
        health: Health,
        checks: ComponentChecks,
        pollers: Mapping[str, Poller],
        changes: Callable[[], object] = object,
        member: Member | None = None,
    ) -> None:
        """Polls wait a while for `holds_read` to be set. `changes` is another value after a change of the record."""
        self._context = context
        self._settings = settings
        self._health = health
        self._checks = checks
        self._pollers = pollers
        self._changes = changes
        self._member = member
        self.holds_read: Final = threading.Event()

    def periodic(self) -> list[PeriodicJob]:
        """The jobs that the settings ask for."""
        context, settings = self._context, self._settings
        jobs = [self._job(f"poll {p.registry}", p.every_s, self._poll(p.registry), p.jitter_s) for p in settings.polls]
        jobs += [
            self._job(f"webhooks of {name}", HINTS_EVERY_S, poller.poll_reported)
            for name, poller in self._pollers.items()
        ]
        return [
            *jobs,
            *self._daemon_jobs(),
            self._job("release prewarmed", RELEASE_EVERY_S, lambda: release_prewarmed(context)),
            self._job("heartbeat", SEEN_EVERY_S, self._record_seen),
            *([self._job("renewed keys", RENEWED_EVERY_S, self._renewed())] if settings.polls else []),
            *self._base_image_jobs(),
            *self._hold_copy_jobs(),
            *self._check_jobs(),
            *([self._job("fleet", beat_s(context.lease_s), self._record_active)] if self._member else []),
        ]

    def read_holds(self) -> None:
        """Polls wait for it: a record that was restored from a backup must not release what was held since."""
        try:
            hold_copies.read_back(self._context)
        except SyncdError as error:
            log.warning("hold.copies_unread", message="Copies of holds could not be read.", reason=error.message)
        finally:
            self.holds_read.set()

    def _poll(self, registry: str) -> Callable[[], object]:
        def poll() -> None:
            self.holds_read.wait(_HOLDS_READ_S)
            if self._context.draining.is_set():
                return
            try:
                self._pollers[registry].poll()
            finally:
                self._health.record_poll(registry)

        return poll

    def _hold_copy_jobs(self) -> list[PeriodicJob]:
        """One job per target: a target that hangs does not block the copies of the others."""
        if not self._settings.copies_holds:
            return []
        world = self._context
        return [
            self._job(f"copies of holds at {name}", COPIED_EVERY_S, WhenChanged(HoldCopies(world, name), self._changes))
            for name in world.targets
        ]

    def _check_jobs(self) -> list[PeriodicJob]:
        checking = self._settings.checking
        if checking is None:
            return []
        return [
            *(self._job(f"check of {what}", checking.every_s, check) for what, check in self._checks.jobs()),
            self._job("report of checks", min(REPORT_EVERY_S, checking.every_s), self._checks.write),
        ]

    def _daemon_jobs(self) -> list[PeriodicJob]:
        """Jobs without a release: garbage collection, drift scans per region, and interrupted retirements."""
        settings, drifting, context = self._settings, self._settings.drifting, self._context
        if settings.only:
            return []
        linking = [self._job("event links", LINKED_EVERY_S, self._link_events)] if settings.links_events else []
        kept = [self._job("engine's rows", FORGET_EVERY_S, self._forget), *self._keeping_jobs()]
        sweeping = self._job("sweep", SWEEP_EVERY_S, lambda: sweep(context))
        resume = self._job("retirements", SWEEP_EVERY_S, partial(retire.resume, context, context.draining))
        # Its calls are watched each by itself: a copy of hours must not be abandoned as one job that hangs.
        repairs = PeriodicJob(
            "repairs", REPAIRS_EVERY_S, 0.0, WhenChanged(partial(resume_repairs, context), self._changes)
        )
        if drifting is None:
            return [sweeping, resume, repairs, *kept, *linking]
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
            *kept,
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

    def _keeping_jobs(self) -> list[PeriodicJob]:
        """The retention rules and the scrub, where they are configured."""
        context, settings = self._context, self._settings
        jobs = []
        if context.retention.rules:
            jobs.append(self._job("retention", settings.retention_every_s, self._remove_unkept))
        if settings.scrub is not None:
            jobs.append(self._job("scrub", SCRUB_EVERY_S, Scrub(context, settings.scrub)))
        return jobs

    def _remove_unkept(self) -> None:
        context = self._context
        retention.run(context, retention.models_of(context, None), retention.CLOCK, context.draining)

    def _renewed(self) -> WhenChanged:
        """Look for what stalled for a key, when a key or the record has changed."""
        context = self._context
        return WhenChanged(partial(retry_renewed, context), lambda: (self._changes(), context.keys()))

    def _forget(self) -> None:
        """Delete what the engine keeps of attempts that ended: the record says how each ended, and keeps it."""
        context = self._context
        with context.state.read() as conn:
            now = context.state.now(conn)
        context.engine.forget(now - FORGOTTEN_AFTER)

    def _link_events(self) -> None:
        with self._context.state.write() as conn:
            audit.extend(conn)

    def _record_seen(self) -> None:
        context = self._context
        if not self._health.is_alive():  # a daemon whose loop has stopped works on nothing: `health` must say so
            return
        with context.state.write() as conn:
            processes.record_seen(conn, context.owner, socket.gethostname(), os.getpid(), context.state.now(conn))

    def _record_active(self) -> None:
        if self._member is not None and self._health.is_alive():
            self._member.beat(active=True)

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
