"""One pass over the unfinished releases: read the rows, decide, write; hand due steps to the engine.

Idempotent: a second pass right after finds nothing to do. Everything a decision writes, and the attempts it hands
over, are one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.engine.base import Carried
from syncd.errors import Conflict
from syncd.plan.fleet import CONTROL_QUEUE, TRANSFER_QUEUE
from syncd.plan.gate import Wait, wait_at
from syncd.plan.phases import STEP_ENDS, ReleasePhase, StepKind, StepState
from syncd.plan.release import Decision, StepView, View, decide
from syncd.reconcile import course
from syncd.reconcile.catchup import catch_up
from syncd.reconcile.rooms import Rooms
from syncd.state import approvals, bases, flips, freezes, holds, placements, releases, steps, versions
from syncd.state.advance import advance
from syncd.state.records import Release, Step

log = structlog.get_logger("syncd.tick")
DECISIONS_MAX: Final = 16  # a release has ten phases; more decisions in a row would be a loop
_GATED: Final = frozenset({ReleasePhase.STAGING, ReleasePhase.FLIPPING})
UNHEARD_S: Final = 10.0  # a handed-over step that has not begun by then is asked after


def tick(rooms: Rooms, unheard_s: float = UNHEARD_S) -> bool:
    """Take every unfinished release as far as it goes now. Returns whether anything was written.

    A step handed over `unheard_s` seconds ago that has not begun is asked after, and handed over anew if it is lost.
    """
    with rooms.state.read() as conn:
        unfinished = [release.id for release in releases.unfinished(conn)]
    moved = catch_up(rooms)
    for release_id in unfinished:
        try:
            moved |= _advanced(rooms, release_id, unheard_s)
        except Conflict as elsewhere:  # a worker or a person moved it between our look and our write: look again later
            log.info("release moved meanwhile", release=release_id, reason=elsewhere.message)
    return moved


def _advanced(rooms: Rooms, release_id: str, unheard_s: float) -> bool:
    moved = False
    for _ in range(DECISIONS_MAX):
        if not _once(rooms, release_id, unheard_s):
            break
        moved = True
    return moved


def _once(rooms: Rooms, release_id: str, unheard_s: float) -> bool:
    cancelled: list[Step] = []
    with rooms.state.write() as conn:
        release = releases.get(conn, release_id)
        all_steps = steps.of_release(conn, release_id)
        course.keep_time(conn, release.id, rooms.state.now(conn))
        decision = decide(_view(rooms, conn, release, all_steps))
        changed = _apply(rooms, conn, release, decision, all_steps)
        if decision.stop:
            cancelled = steps.wind_down(conn, release_id, rooms.state.now(conn))
        elif not rooms.draining.is_set():
            for step in steps.of_release(conn, release_id):
                if _is_due(rooms, step, rooms.state.now(conn), unheard_s):
                    handed = steps.hand_over(conn, step, rooms.state.now(conn))
                    rooms.engine.submit(conn, handed.id, handed.attempt, handed.queue, release.number)
    for step in cancelled:
        rooms.engine.cancel(step.id, step.attempt)
    return changed or bool(cancelled)


def _view(rooms: Rooms, conn: Connection, release: Release, all_steps: Sequence[Step]) -> View:
    placed = placements.of_version(conn, release.version_id) if release.version_id else []
    hold = holds.find(conn, release.model)
    newer = [other.id for other in releases.unfinished(conn, release.model) if other.number > release.number]
    moving = flips.of_release(conn, release.id)
    return View(
        phase=release.phase,
        rollback=release.rollback,
        pinned=release.version_id is not None,
        place_groups=rooms.fleet.groups_of(release.model),
        feeds=rooms.fleet.feeds_of(release.model),
        bindings=tuple(binding.name for binding in rooms.fleet.bindings_of(release.model)),
        placements={placement.target: placement.phase for placement in placed},
        steps=tuple(StepView(s.kind, s.subject, s.state, s.reason, s.hint) for s in all_steps),
        flips={flip.binding: flip.phase for flip in moving},
        newer=newer[-1] if newer else "",
        held=f"{hold.who}: {hold.why}" if hold else "",
        cancelled=release.cancel,
        wait=_wait(rooms, conn, release),
        undo_reason=release.reason if release.phase is ReleasePhase.UNDOING else "",
        undo_hint=release.hint if release.phase is ReleasePhase.UNDOING else "",
        needs=rooms.fleet.needs_of(release.model),
        course=course.of(conn, rooms, release, moving),
    )


def _wait(rooms: Rooms, conn: Connection, release: Release) -> Wait | None:
    """What keeps it at the barrier, and from one stage to the next. A rollback waits for nobody."""
    if release.rollback or release.phase not in _GATED or release.version_id is None:
        return None
    unapproved = False
    if rooms.gates.wants_approval(release.model):
        approved = approvals.find(conn, release.id)
        unapproved = approved is None or approved.digest != versions.get(conn, release.version_id).digest
    now = rooms.state.now(conn)
    frozen = [f"frozen by {freeze.who}: {freeze.why}" for freeze in freezes.of(conn, release.model, now)]
    if window := rooms.gates.window(release.model, now):
        frozen.append(f"nothing is flipped {window}")
    return wait_at(release.id, unapproved=unapproved, frozen=frozen)


def _apply(rooms: Rooms, conn: Connection, release: Release, decision: Decision, all_steps: Sequence[Step]) -> bool:
    now = rooms.state.now(conn)
    changed = False
    for target in decision.place:
        assert release.version_id is not None
        placements.ensure(conn, release.version_id, target, now)
        changed = True
    if decision.claim:
        changed |= _claim(rooms, conn, release, decision.claim)
    turns = dict(decision.flips)
    for flip in flips.of_release(conn, release.id) if turns else ():
        if flip.binding in turns:
            advance(conn, flip, turns[flip.binding], now=now)
            changed = True
    if decision.hold and holds.find(conn, release.model) is None:
        holds.put(conn, release.model, "syncd", f"{release.id} was undone: {decision.hold}", now)
    if decision.phase is not None:
        advance(conn, release, decision.phase, now=now, reason=decision.reason, hint=decision.hint)
        if decision.phase is ReleasePhase.LIVE:
            bases.settle(conn, release, now)
        changed = True
    changed |= course.follow(conn, rooms, release, decision)
    if decision.note is not None and (release.reason, release.hint) != (decision.note.reason, decision.note.hint):
        releases.note(conn, release.id, decision.note.reason, decision.note.hint, now)
    _want(conn, release, decision, all_steps, rooms)
    return changed


def _want(conn: Connection, release: Release, decision: Decision, all_steps: Sequence[Step], rooms: Rooms) -> None:
    now = rooms.state.now(conn)
    known = {(step.kind, step.subject): step for step in all_steps}
    for kind, subject in decision.want:
        step = known.get((kind, subject))
        if step is None:
            queue = TRANSFER_QUEUE if kind is StepKind.PLACE else CONTROL_QUEUE
            steps.ensure(conn, release.id, kind, subject, queue, now)
        elif step.state in STEP_ENDS:
            # It ended, yet what it was for is not there (any more): do it again rather than wait for ever.
            steps.reopen(conn, step, now)


def _claim(rooms: Rooms, conn: Connection, release: Release, bindings: Sequence[str]) -> bool:
    now = rooms.state.now(conn)
    try:
        holder = flips.claim(conn, release, bindings, now)
    except Conflict as conflict:
        holder = conflict.message
    if holder is None:
        return True
    reason = f"waits for {holder}, which is moving an alias this release needs"
    if release.reason != reason:
        releases.note(conn, release.id, reason, "", now)
    return False


def _is_due(rooms: Rooms, step: Step, now: datetime, unheard_s: float) -> bool:
    if step.state is StepState.WAITING:
        return step.due_at <= now
    if step.state is StepState.RUNNING:
        return step.lease_until is not None and step.lease_until < now
    if step.state is not StepState.QUEUED or step.due_at + timedelta(seconds=unheard_s) > now:
        return False
    carried = rooms.engine.status(step.id, step.attempt)
    if carried is Carried.RUNNING:  # a worker begins what it claims at once: one that has not by then has died
        return step.due_at + timedelta(seconds=UNHEARD_S) < now
    return carried is not Carried.WAITING
