"""Steps: units of recorded work. Every write of a worker has its attempt, and is refused when a newer one owns it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from syncd.errors import RETRY_AFTER_MAX_S, Conflict, Fenced, NotFound
from syncd.plan.phases import STEP_ENDS, StepKind, StepState
from syncd.state.db.rows import among, fetch_all, fetch_one, insert_new
from syncd.state.db.schema import releases, steps
from syncd.state.records import Step
from syncd.state.releases import events

DUE_MAX: Final = timedelta(seconds=RETRY_AFTER_MAX_S)  # no step waits longer before it is checked again
_IN_HAND: Final = (StepState.QUEUED, StepState.RUNNING)
_OPEN: Final = tuple(state for state in StepState if state not in STEP_ENDS)


def ensure(conn: sa.Connection, release_id: str, kind: StepKind, subject: str, queue: str, now: datetime) -> Step:
    """The step of this kind and subject within a release: as it is, or new and due now."""
    step_id = f"{release_id}/{kind}/{subject}"
    values = {"id": step_id, "release_id": release_id, "kind": kind, "subject": subject}
    insert_new(conn, steps, **values, queue=queue, due_at=now)
    return get(conn, step_id)


def get(conn: sa.Connection, step_id: str) -> Step:
    """Raises NotFound: the step does not exist."""
    found = fetch_one(conn, Step, sa.select(steps).where(steps.c.id == step_id))
    if found is None:
        raise NotFound(f"step {step_id} does not exist")
    return found


def of_release(conn: sa.Connection, release_id: str) -> list[Step]:
    """The steps of a release, ordered by id."""
    return fetch_all(conn, Step, sa.select(steps).where(steps.c.release_id == release_id).order_by(steps.c.id))


def open_of(conn: sa.Connection, release_ids: Collection[str]) -> list[Step]:
    """The steps of these releases that run, and those that say why they wait, ordered by id, in one statement."""
    waits = sa.and_(steps.c.state == StepState.WAITING, steps.c.reason != "")
    mine = sa.and_(among(conn, steps.c.release_id, release_ids), waits | (steps.c.state == StepState.RUNNING))
    return fetch_all(conn, Step, sa.select(steps).where(mine).order_by(steps.c.id))


def newest_start(conn: sa.Connection, kind: StepKind, subjects: Collection[str], *, is_done: bool) -> datetime | None:
    """When the newest step of a kind about one of `subjects` began: of those that are done, or of the others.

    Of those that are done, only steps of forward releases count: a rollback may have had nothing to do.
    """
    mine = [steps.c.kind == kind, steps.c.subject.in_(tuple(subjects)), steps.c.release_id == releases.c.id]
    mine += [steps.c.state == StepState.DONE, ~releases.c.rollback] if is_done else [steps.c.state != StepState.DONE]
    begun: datetime | None = conn.execute(sa.select(sa.func.max(steps.c.started_at)).where(*mine)).scalar_one()
    return begun


def open_steps(conn: sa.Connection) -> list[Step]:
    """All steps that have not ended, the longest due first."""
    return fetch_all(conn, Step, sa.select(steps).where(steps.c.state.in_(_OPEN)).order_by(steps.c.due_at, steps.c.id))


def expired(conn: sa.Connection, now: datetime) -> list[Step]:
    """Running steps whose lease has expired: the worker is dead, or cut off and about to be fenced."""
    over = sa.and_(steps.c.state == StepState.RUNNING, steps.c.lease_until <= now)
    return fetch_all(conn, Step, sa.select(steps).where(over).order_by(steps.c.lease_until, steps.c.id))


def guard(conn: sa.Connection, step_id: str, attempt: int) -> Step:
    """The step, its row locked until the transaction ends.

    Raises:
        Fenced: It is not at this attempt, or not queued or running.
    """
    found = fetch_one(conn, Step, sa.select(steps).where(_leased(step_id, attempt, _IN_HAND)).with_for_update())
    if found is None:
        raise _fenced(conn, step_id, attempt)
    return found


def hand_over(conn: sa.Connection, step: Step, now: datetime, queue: str = "") -> Step:
    """Queue the next attempt of a step that waits, whose lease has expired, or that the engine lost.

    It waits in `queue` from then on, or in the one it has.

    From then on every earlier attempt is fenced out. The row must still be as in `step`, the basis of the decision.
    An expired lease is not counted as a failure: a worker may be killed any number of times.

    Raises:
        Conflict: The step has moved meanwhile, has ended, or its worker has renewed the lease.
    """
    unmoved = [steps.c.id == step.id, steps.c.attempt == step.attempt, steps.c.state == step.state]
    if step.state is StepState.RUNNING:
        unmoved.append(steps.c.lease_until <= now)
    elif step.state in STEP_ENDS:
        raise Conflict(f"step {step.id} is {step.state} and cannot be handed over")
    values: dict[str, Any] = {"attempt": step.attempt + 1, "state": StepState.QUEUED, "due_at": now}
    values["queue"] = queue or step.queue
    taken = _change(conn, unmoved, **values, owner="", lease_until=None)
    if taken is None:
        raise Conflict(f"step {step.id} is no longer {step.state} at attempt {step.attempt}, or its lease was renewed")
    if step.state is not StepState.WAITING:
        _record_event(conn, "step.lost", step, now, {"was": step.state.value, "owner": step.owner})
    _record_event(conn, "step.queued", taken, now, {"queue": taken.queue})
    return taken


def begin(conn: sa.Connection, step_id: str, attempt: int, owner: str, lease_s: float, now: datetime) -> Step:
    """Take a queued attempt, with a lease of `lease_s` seconds.

    Raises:
        Fenced: It is at another attempt, or another worker has begun it already.
    """
    lease = {"owner": owner, "lease_until": now + timedelta(seconds=lease_s), "started_at": now, "ended_at": None}
    step = _fenced_change(conn, step_id, attempt, (StepState.QUEUED,), state=StepState.RUNNING, **lease)
    _record_event(conn, "step.started", step, now, {"owner": owner, "queue": step.queue})
    return step


def renew(conn: sa.Connection, step_id: str, attempt: int, lease_s: float, now: datetime) -> Step:
    """Renew the lease to `lease_s` seconds from now. `stop_wanted` of the returned step says whether to stop.

    Raises:
        Fenced: The step was taken away. An expired lease is renewed unless it was taken over.
    """
    until = now + timedelta(seconds=lease_s)
    return _fenced_change(conn, step_id, attempt, (StepState.RUNNING,), lease_until=until)


def done(
    conn: sa.Connection, step_id: str, attempt: int, now: datetime, detail: Mapping[str, object] | None = None
) -> Step:
    """End a running step well.

    Raises:
        Fenced: Another attempt owns it, or it has ended already.
    """
    return _end(conn, step_id, attempt, now, {"state": StepState.DONE, "reason": "", "hint": ""}, detail)


def stall(  # noqa: PLR0913, PLR0917 -- the fence, and what a person and a later retry must know
    conn: sa.Connection,
    step_id: str,
    attempt: int,
    reason: str,
    hint: str,
    now: datetime,
    detail: Mapping[str, object] | None = None,
) -> Step:
    """End a running step that needs a person's help; the attempt counts as a failure. `detail` goes to its event.

    Raises:
        Fenced: Another attempt owns it, or it has ended already.
    """
    values = {"state": StepState.STALLED, "failures": steps.c.failures + 1, "reason": reason, "hint": hint}
    return _end(conn, step_id, attempt, now, values, detail)


def postpone(  # noqa: PLR0913 -- the fence, the time, and the reason and hint for people
    conn: sa.Connection,
    step_id: str,
    attempt: int,
    *,
    due_at: datetime,
    reason: str,
    hint: str = "",
    failed: bool,
    now: datetime,
) -> Step:
    """Put a running step back to wait until `due_at`; `failed` counts a failure, else it only yields.

    It waits for `DUE_MAX` at most.

    Raises:
        Fenced: Another attempt owns it, or it has ended already.
    """
    due_at = min(due_at, now + DUE_MAX)
    more = {"failures": steps.c.failures + int(failed), "due_at": due_at, "reason": reason, "hint": hint}
    step = _fenced_change(
        conn, step_id, attempt, (StepState.RUNNING,), **more, state=StepState.WAITING, owner="", lease_until=None
    )
    detail = {"reason": reason, "due_at": due_at.isoformat(), "failures": step.failures, **_seconds(step, now)}
    _record_event(conn, "step.failed" if failed else "step.postponed", step, now, detail)
    return step


def cancel(conn: sa.Connection, step_id: str, attempt: int, now: datetime) -> Step:
    """End a running step that was asked to stop and has stopped.

    Raises:
        Fenced: Another attempt owns it, or it has ended already.
    """
    return _end(conn, step_id, attempt, now, {"state": StepState.CANCELLED}, None)


def cancel_open(conn: sa.Connection, release_id: str, now: datetime) -> list[Step]:
    """Cancel a release's steps that are not running, and request the running ones to stop (`renew` returns it).

    A running step is not cancelled from outside during its lease: it may be between a write and its record.
    Returns the cancelled steps, so that the engine can drop their jobs. Repeating it is harmless.
    """
    mine = steps.c.release_id == release_id
    idle = steps.c.state.in_((StepState.WAITING, StepState.QUEUED))
    over = sa.and_(steps.c.state == StepState.RUNNING, steps.c.lease_until <= now)
    query = sa.update(steps).where(mine, sa.or_(idle, over)).returning(*steps.c)
    cancelled = fetch_all(conn, Step, query.values(state=StepState.CANCELLED, ended_at=now, owner="", lease_until=None))
    for step in cancelled:
        _record_event(conn, "step.cancelled", step, now, {})
    conn.execute(sa.update(steps).where(mine, steps.c.state == StepState.RUNNING).values(stop_wanted=True))
    return cancelled


def revoke(conn: sa.Connection, release_id: str, subject: str, kinds: Collection[StepKind], now: datetime) -> bool:
    """Make running steps of these kinds wait, due now, even during their lease: the next attempt starts afresh.

    The previous worker is fenced out and notices at its next record. Returns whether there was any.
    """
    mine = [steps.c.release_id == release_id, steps.c.subject == subject, steps.c.kind.in_(tuple(kinds))]
    query = sa.update(steps).where(*mine, steps.c.state == StepState.RUNNING).returning(*steps.c)
    taken = fetch_all(conn, Step, query.values(state=StepState.WAITING, due_at=now, owner="", lease_until=None))
    for step in taken:
        _record_event(conn, "step.lost", step, now, {"was": StepState.RUNNING.value})
    return bool(taken)


def withdraw(conn: sa.Connection, release_id: str, subject: str, kinds: Collection[StepKind], now: datetime) -> None:
    """Cancel the open steps of these kinds at once; a worker that runs one is fenced out.

    Only for steps whose effects others may overwrite: a running one may still be between a write and its record.
    """
    mine = [steps.c.release_id == release_id, steps.c.subject == subject, steps.c.kind.in_(tuple(kinds))]
    query = sa.update(steps).where(*mine, steps.c.state.not_in(tuple(STEP_ENDS))).returning(*steps.c)
    ended = query.values(state=StepState.CANCELLED, ended_at=now, owner="", lease_until=None)
    for step in fetch_all(conn, Step, ended):
        _record_event(conn, "step.cancelled", step, now, {})


def reopen(conn: sa.Connection, step: Step, now: datetime) -> Step:
    """Make a step that ended wait again, due now: its result turned out to be missing.

    Raises:
        Conflict: It has not ended, or was reopened already.
    """
    ended = [steps.c.id == step.id, steps.c.attempt == step.attempt, steps.c.state.in_(tuple(STEP_ENDS))]
    fresh = {"failures": 0, "reason": "", "hint": "", "ended_at": None, "stop_wanted": False}
    again = _change(conn, ended, state=StepState.WAITING, due_at=now, **fresh)
    if again is None:
        raise Conflict(f"step {step.id} is no longer {step.state} at attempt {step.attempt}")
    _record_event(conn, "step.reopened", again, now, {"was": step.state.value})
    return again


def make_due(conn: sa.Connection, release_id: str, kind: StepKind, now: datetime) -> None:
    """Make the waiting steps of a kind due now."""
    late = sa.and_(steps.c.release_id == release_id, steps.c.kind == kind, steps.c.due_at > now)
    conn.execute(sa.update(steps).where(late, steps.c.state == StepState.WAITING).values(due_at=now))


def retry_now(conn: sa.Connection, release_id: str, who: str, now: datetime) -> list[Step]:
    """Make every waiting step of a release that is due later due now, with an event; returns these steps."""
    late = sa.and_(steps.c.release_id == release_id, steps.c.state == StepState.WAITING, steps.c.due_at > now)
    query = sa.update(steps).where(late).values(due_at=now).returning(*steps.c)
    woken = fetch_all(conn, Step, query)
    if woken:
        detail: dict[str, object] = {"who": who, "steps": sorted(f"{step.kind} {step.subject}" for step in woken)}
        events.append(conn, "release.retried", now=now, release_id=release_id, detail=detail)
    return woken


def resume_after_step(conn: sa.Connection, lease_s: float, now: datetime) -> None:
    """After a step of the clock: what waits is due now, and each lease lasts `lease_s` seconds from now.

    A live worker renews its lease in that time; a dead one loses it, however far the clock was set back.
    """
    late = sa.and_(steps.c.state.in_((StepState.WAITING, StepState.QUEUED)), steps.c.due_at > now)
    conn.execute(sa.update(steps).where(late).values(due_at=now))
    leased = sa.update(steps).where(steps.c.state == StepState.RUNNING)
    conn.execute(leased.values(lease_until=now + timedelta(seconds=lease_s)))


def expire_others(conn: sa.Connection, alive: Collection[str], now: datetime) -> int:
    """Expire the leases of every owner but those `alive`; only for the process that controls the record."""
    others = sa.and_(steps.c.state == StepState.RUNNING, steps.c.owner.not_in(tuple(alive)))
    return conn.execute(sa.update(steps).where(others).values(lease_until=now)).rowcount


def _end(
    conn: sa.Connection,
    step_id: str,
    attempt: int,
    now: datetime,
    values: Mapping[str, Any],
    detail: Mapping[str, object] | None,
) -> Step:
    changes = {**values, "ended_at": now, "owner": "", "lease_until": None}
    step = _fenced_change(conn, step_id, attempt, (StepState.RUNNING,), **changes)
    said = {"reason": step.reason, "hint": step.hint} if step.reason else {}
    _record_event(conn, f"step.{step.state.value}", step, now, {**said, **_seconds(step, now), **(detail or {})})
    return step


def _leased(step_id: str, attempt: int, states: Iterable[StepState]) -> sa.ColumnElement[bool]:
    return sa.and_(steps.c.id == step_id, steps.c.attempt == attempt, steps.c.state.in_(tuple(states)))


def _fenced_change(conn: sa.Connection, step_id: str, attempt: int, states: Iterable[StepState], **values: Any) -> Step:
    step = _change(conn, [_leased(step_id, attempt, states)], **values)
    if step is None:
        raise _fenced(conn, step_id, attempt)
    return step


def _change(conn: sa.Connection, where: Iterable[sa.ColumnElement[bool]], **values: Any) -> Step | None:
    return fetch_one(conn, Step, sa.update(steps).where(*where).values(**values).returning(*steps.c))


def _fenced(conn: sa.Connection, step_id: str, attempt: int) -> Fenced:
    step = fetch_one(conn, Step, sa.select(steps).where(steps.c.id == step_id))
    if step is None:
        return Fenced(f"step {step_id} does not exist")
    return Fenced(f"step {step_id} is {step.state} at attempt {step.attempt}; this is attempt {attempt}")


def _seconds(step: Step, now: datetime) -> dict[str, object]:
    return {} if step.started_at is None else {"seconds": round((now - step.started_at).total_seconds(), 3)}


def _record_event(conn: sa.Connection, kind: str, step: Step, now: datetime, detail: Mapping[str, object]) -> None:
    events.append(
        conn,
        kind,
        now=now,
        release_id=step.release_id,
        step_id=step.id,
        attempt=step.attempt,
        subject=step.subject,
        detail=detail,
    )
