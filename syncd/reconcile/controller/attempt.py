"""One attempt of one step: take the lease, renew it, run the step handler, and record how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd import watchdog
from syncd.errors import Cancelled, Failed, Fenced, KeyRefused, NotYet, SyncdError, Unavailable
from syncd.plan.backoff import GiveUp, next_action, wait_s
from syncd.plan.phases import ReleasePhase, StepKind
from syncd.reconcile.context import Attempt, Context, StepHandler
from syncd.reconcile.controller.claims import own_releases
from syncd.reconcile.discovery.refused_pins import refused_pin
from syncd.reconcile.requests.renewed_keys import REFUSED_KEY
from syncd.state.releases import releases, steps

log = structlog.get_logger("syncd.step")


def run_attempt(
    context: Context, handlers: Mapping[StepKind, StepHandler], step_id: str, attempt: int, *, only: str = ""
) -> None:
    """Run an attempt to its recorded end. An attempt that is not the current one does nothing.

    With `only` a process works on one release and those it waits for: an attempt that another process left in the
    queue is left to a daemon, which queues it again.

    Raises nothing that a caller must handle: a failure is in the record, or a newer attempt owns the step.
    """
    try:
        if only and not _is_own(context, only, step_id.partition("/")[0]):
            return
        with context.state.write() as conn:
            step = steps.begin(conn, step_id, attempt, context.owner, context.lease_s, context.state.now(conn))
            job = Attempt(context, step, releases.get(conn, step.release_id))
    except Fenced:
        return
    except SyncdError as error:  # the record is unreachable; the step is handed over again when its lease ends
        log.warning(
            "step.not_begun",
            message="The attempt could not be begun; the next pass hands it over again.",
            step=step_id,
            attempt=attempt,
            error=error.message,
        )
        return
    with structlog.contextvars.bound_contextvars(**described(job)):
        try:
            with _lease_kept(job):
                failure = _run(job, handlers[step.kind])
            if failure is not None:
                _record_failure(job, failure)
        except Fenced:
            log.info("step.superseded", message="A newer attempt owns the step; this one records nothing.")
        except SyncdError as lost:
            log.warning(
                "step.outcome_not_recorded",
                message="The outcome could not be recorded; the next attempt reads what is there.",
                error=lost.message,
            )
    context.wake.set()


def _is_own(context: Context, only: str, release_id: str) -> bool:
    if release_id == only:
        return True
    with context.state.read() as conn:
        return release_id in own_releases(context, conn, only)


def described(job: Attempt) -> dict[str, object]:
    """The fields of every log line of an attempt."""
    return {
        "release": job.release.id,
        "model": job.release.model,
        "version": job.release.ref,
        "step": job.step.kind.value,
        "subject": job.step.subject,
        "attempt": job.step.attempt,
    }


def _run(job: Attempt, handler: StepHandler) -> SyncdError | None:
    try:
        handler(job)
    except SyncdError as error:
        return error
    except Exception as bug:  # a loop top: one step's bug must not end the process or hide
        log.exception("step.crashed", message="A bug in syncd ended this attempt.")
        return Failed(f"unexpected {type(bug).__name__}: {bug}", hint="this is a bug in syncd; the log has the trace")
    return None


def _record_failure(job: Attempt, error: SyncdError) -> None:
    if isinstance(error, Fenced):
        raise error
    context, step = job.context, job.step
    with context.state.write() as conn:
        now = context.state.now(conn)
        if isinstance(error, Cancelled):
            if job.stop_wanted:
                steps.cancel(conn, step.id, step.attempt, now)
            else:  # the process is leaving: the next one goes on at once
                steps.postpone(conn, step.id, step.attempt, due_at=now, reason="", hint="", failed=False, now=now)
            return
        progressed = isinstance(error, Unavailable) and error.progressed
        failures = max(1, step.failures + (not progressed))
        choice = next_action(error, failures, context.patience, context.chance(), progressed=progressed)
        if isinstance(choice, GiveUp) and not _must_undo(conn, job):
            log.error(
                "step.stalled",
                message="The step is given up until a person acts.",
                error=error.message,
                hint=error.hint,
                failures=failures,
            )
            steps.stall(conn, step.id, step.attempt, error.message, error.hint, now, _cause(job, error))
            return
        after_s = (
            wait_s(error, failures, context.patience, context.chance())
            if isinstance(choice, GiveUp)
            else choice.after_s
        )
        failed = not isinstance(error, NotYet) and not progressed
        if failed or progressed:
            said = {"error": error.message, "failures": failures, "after_s": round(after_s, 1)}
            log.warning("step.failed", message="The attempt failed and is repeated.", **said)
        else:
            log.info(
                "step.waiting",
                message="The step waits for something that has not come yet.",
                reason=error.message,
                after_s=round(after_s, 1),
            )
        due_at = now + timedelta(seconds=after_s)
        steps.postpone(
            conn, step.id, step.attempt, due_at=due_at, reason=error.message, hint=error.hint, failed=failed, now=now
        )


def _cause(job: Attempt, error: SyncdError) -> Mapping[str, object] | None:
    """What a later retry must know of a step that stalled."""
    if isinstance(error, KeyRefused) and error.key:
        return {REFUSED_KEY: error.key}
    return refused_pin(error, job.pin) if job.step.kind in {StepKind.RESOLVE, StepKind.PLACE} else None


def _must_undo(conn: Connection, job: Attempt) -> bool:
    """Whether the step is repeated without limit: a stalled undo or rollback would leave regions that disagree."""
    if job.step.kind is StepKind.UNDO:
        return True
    return job.release.rollback and releases.get(conn, job.release.id).phase is ReleasePhase.FLIPPING


_BEATS_PER_LEASE: Final = 4
_CUT_OFF: Final = 0.6  # of the lease without a renewal: what is left is for the effect under way to end
_BEAT_MAX_S: Final = 1.0  # progress and cancellation are as fresh as this


@contextmanager
def _lease_kept(job: Attempt) -> Iterator[None]:
    """Renew the lease while the handler runs, and stop the handler when the lease is lost or the step cancelled."""
    interval_s = min(_BEAT_MAX_S, job.context.lease_s / _BEATS_PER_LEASE)
    renewed_s = time.monotonic()

    def renew() -> None:
        nonlocal renewed_s
        began_s = time.monotonic()
        if _renew_lease(job):
            renewed_s = began_s

    def stop_when_cut_off() -> None:
        """A renewal may wait for a line that is cut for longer than the lease lasts: this thread asks nobody."""
        if time.monotonic() > renewed_s + job.context.lease_s * _CUT_OFF and not job.stop.is_set():
            log.warning("lease.cut_off", message="The record cannot be reached; the attempt stops within its lease.")
            job.stop.set()

    with ExitStack() as threads:
        threads.enter_context(watchdog.repeating(renew, interval_s, f"lease {job.step.id}"))
        if job.context.is_shared:
            threads.enter_context(watchdog.repeating(stop_when_cut_off, interval_s, f"cut off {job.step.id}"))
        yield


def _renew_lease(job: Attempt) -> bool:
    """Renew it, and notice what is asked of the attempt. Returns whether the lease was renewed."""
    context = job.context
    if context.draining.is_set() or context.yielding.is_set():
        job.stop.set()
    try:
        with context.state.write() as conn:
            step = steps.renew(conn, job.step.id, job.step.attempt, context.lease_s, context.state.now(conn))
        if step.stop_wanted:
            job.stop_wanted = True
            job.stop.set()
        for tell in job.on_beat:
            tell()
    except Fenced:
        job.stop.set()
        return False
    except Unavailable as error:  # the lease may run out; the fence then refuses the writes
        log.warning("lease.not_renewed", message="The lease could not be renewed; it may run out.", error=error.message)
        return False
    return True
