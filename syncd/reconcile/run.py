"""Run one attempt of one step: take the lease, keep it, look-act-record, and record how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.errors import Cancelled, Failed, Fenced, NotYet, SyncdError, Unavailable
from syncd.plan.backoff import GiveUp, verdict, wait_s
from syncd.plan.phases import ReleasePhase, StepKind
from syncd.reconcile.rooms import Rooms
from syncd.state import releases, steps
from syncd.state.records import Release, Step

log = structlog.get_logger("syncd.step")


@dataclass
class Job:
    """One attempt under way. `stop` is set when it has to end: cancelled, fenced off, or the process drains."""

    rooms: Rooms
    step: Step
    release: Release
    stop: threading.Event = field(default_factory=threading.Event)
    stop_wanted: bool = False
    on_beat: list[Callable[[], None]] = field(default_factory=list)

    def waiting(self, what: str) -> None:
        """Called between looks while the platform works. Raises Cancelled when the attempt has to end."""
        if self.stop.is_set():
            raise Cancelled(f"stopped while {what}")

    def describe(self) -> dict[str, object]:
        """What every log line of this attempt carries."""
        return {
            "release": self.release.id,
            "model": self.release.model,
            "version": self.release.ref,
            "step": self.step.kind.value,
            "subject": self.step.subject,
            "attempt": self.step.attempt,
        }


Body = Callable[[Job], None]


def run_step(rooms: Rooms, bodies: Mapping[StepKind, Body], step_id: str, attempt: int) -> None:
    """Run an attempt to its recorded end. An attempt that is not the current one does nothing.

    Raises nothing a caller must handle: what went wrong is in the record, or a newer attempt owns the step.
    """
    try:
        with rooms.state.write() as conn:
            step = steps.begin(conn, step_id, attempt, rooms.owner, rooms.lease_s, rooms.state.now(conn))
            job = Job(rooms, step, releases.get(conn, step.release_id))
    except Fenced:
        return
    except SyncdError as error:  # the record cannot be reached; the lease or the next tick brings it back
        log.warning("step not begun", step=step_id, attempt=attempt, error=error.message)
        return
    with structlog.contextvars.bound_contextvars(**job.describe()):
        try:
            with _kept(job):
                failure = _attempted(job, bodies[step.kind])
            if failure is not None:
                _record_failure(job, failure)
        except Fenced:
            log.info("step superseded by a newer attempt")
        except SyncdError as lost:
            log.warning("outcome not recorded, it will be found by looking", error=lost.message)
    rooms.wake.set()


def _attempted(job: Job, body: Body) -> SyncdError | None:
    try:
        body(job)
    except SyncdError as error:
        return error
    except Exception as bug:  # a loop top: one step's bug must not end the process or hide
        log.exception("a bug in syncd ended this attempt")
        return Failed(f"unexpected {type(bug).__name__}: {bug}", hint="this is a bug in syncd; the log has the trace")
    return None


def _record_failure(job: Job, error: SyncdError) -> None:
    if isinstance(error, Fenced):
        raise error
    rooms, step = job.rooms, job.step
    with rooms.state.write() as conn:
        now = rooms.state.now(conn)
        if isinstance(error, Cancelled):
            if job.stop_wanted:
                steps.cancel(conn, step.id, step.attempt, now)
            else:  # the process is leaving: the next one goes on at once
                steps.postpone(conn, step.id, step.attempt, due_at=now, reason="", hint="", failed=False, now=now)
            return
        failures = step.failures + 1
        choice = verdict(error, failures, rooms.patience, rooms.chance())
        if isinstance(choice, GiveUp) and not _has_to_go_back(conn, job):
            log.error("step stalled", error=error.message, hint=error.hint, failures=failures)
            steps.stall(conn, step.id, step.attempt, error.message, error.hint, now)
            return
        after_s = (
            wait_s(error, failures, rooms.patience, rooms.chance()) if isinstance(choice, GiveUp) else choice.after_s
        )
        failed = not isinstance(error, NotYet)
        if failed:
            said = {"error": error.message, "failures": failures, "after_s": round(after_s, 1)}
            log.warning("step failed, will be repeated", **said)
        else:
            log.info("step waits", reason=error.message, after_s=round(after_s, 1))
        due_at = now + timedelta(seconds=after_s)
        steps.postpone(
            conn, step.id, step.attempt, due_at=due_at, reason=error.message, hint=error.hint, failed=failed, now=now
        )


def _has_to_go_back(conn: Connection, job: Job) -> bool:
    """Whether the step is tried for ever: giving up what goes back would leave regions that disagree."""
    if job.step.kind is StepKind.UNDO:
        return True
    return job.release.rollback and releases.get(conn, job.release.id).phase is ReleasePhase.FLIPPING


_BEATS_PER_LEASE: Final = 4
_BEAT_MAX_S: Final = 1.0  # progress and cancellation are as fresh as this


@contextmanager
def _kept(job: Job) -> Iterator[None]:
    """Renew the lease while the body runs, and tell the body to stop when it is lost or no longer wanted."""
    ended = threading.Event()
    interval_s = min(_BEAT_MAX_S, job.rooms.lease_s / _BEATS_PER_LEASE)

    def beat() -> None:
        while not ended.wait(interval_s):
            _beat(job)

    thread = threading.Thread(target=beat, name=f"lease {job.step.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(job: Job) -> None:
    rooms = job.rooms
    if rooms.draining.is_set():
        job.stop.set()
    try:
        with rooms.state.write() as conn:
            step = steps.beat(conn, job.step.id, job.step.attempt, rooms.lease_s, rooms.state.now(conn))
        if step.stop_wanted:
            job.stop_wanted = True
            job.stop.set()
        for tell in job.on_beat:
            tell()
    except Fenced:
        job.stop.set()
    except Unavailable as error:  # the lease may run out; the fence then keeps us from writing
        log.warning("lease not renewed", error=error.message)
