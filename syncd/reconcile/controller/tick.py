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

from syncd.engine.base import ExecutionStatus
from syncd.errors import Conflict
from syncd.plan.phases import STEP_ENDS, ReleasePhase, StepKind, StepState
from syncd.plan.release import Decision, ReleaseSnapshot, StepView, decide
from syncd.plan.routing import Routing, groups, priority_of, queue_of
from syncd.reconcile import rollout
from syncd.reconcile.context import Context
from syncd.reconcile.controller.claims import claim, gate_of, own_releases
from syncd.reconcile.requests.backfill import backfill
from syncd.state.content import base_images, placements
from syncd.state.records import Release, Step
from syncd.state.releases import holds, releases, steps
from syncd.state.releases.events import advance
from syncd.state.serving import flips

log = structlog.get_logger("syncd.tick")
DECISIONS_MAX: Final = 16  # a release has ten phases; more decisions in a row would be a loop
_GATED: Final = frozenset({ReleasePhase.STAGING, ReleasePhase.FLIPPING})
UNHEARD_S: Final = 10.0  # a handed-over step that has not begun by then is looked up in the engine


def tick(context: Context, unheard_s: float = UNHEARD_S, only: str = "") -> bool:
    """Take every unfinished release as far as it goes now. Returns whether anything was written.

    With `only`, the id of a release, no other is taken further but those that it has to wait for.

    A step handed over `unheard_s` seconds ago that has not begun is looked up in the engine, and handed over again if
    it is lost.
    """
    with context.state.read() as conn:
        own = own_releases(context, conn, only) if only else set()
        routing = context.routing(conn)
        unfinished = [release.id for release in releases.unfinished(conn) if not only or release.id in own]
    moved = backfill(context) if not only else False
    for release_id in unfinished:
        try:
            moved |= _advanced(context, release_id, unheard_s, routing)
        except Conflict as elsewhere:  # another process changed it between the read and the write: decide again later
            log.info(
                "release.changed_meanwhile",
                message="Another process changed the release; the next pass decides again.",
                release=release_id,
                reason=elsewhere.message,
            )
    return moved


def _advanced(context: Context, release_id: str, unheard_s: float, routing: Routing) -> bool:
    moved = False
    for _ in range(DECISIONS_MAX):
        if not _once(context, release_id, unheard_s, routing):
            break
        moved = True
    return moved


def _once(context: Context, release_id: str, unheard_s: float, routing: Routing) -> bool:
    cancelled: list[Step] = []
    with context.state.write() as conn:
        release = releases.get(conn, release_id)
        all_steps = steps.of_release(conn, release_id)
        rollout.record_times(conn, release.id, context.state.now(conn))
        decision = decide(_view(context, conn, release, all_steps, routing))
        changed = _apply(context, conn, release, decision, all_steps)
        if decision.stop:
            cancelled = steps.cancel_open(conn, release_id, context.state.now(conn))
        elif not context.draining.is_set():
            for step in steps.of_release(conn, release_id):
                queue = queue_of(context.topology, step.kind, step.subject, routing)
                if _is_due(context, step, context.state.now(conn), unheard_s, queue):
                    handed = steps.hand_over(conn, step, context.state.now(conn), queue)
                    if step.state is not StepState.WAITING:
                        cancelled.append(step)  # what the engine keeps of the attempt before
                    first = priority_of(release.number, handed.kind, back=release.rollback)
                    context.engine.submit(conn, handed.id, handed.attempt, handed.queue, first)
    for step in cancelled:
        context.engine.cancel(step.id, step.attempt)
    return changed or (bool(cancelled) and decision.stop)


def _view(
    context: Context, conn: Connection, release: Release, all_steps: Sequence[Step], routing: Routing
) -> ReleaseSnapshot:
    begun = [step.subject for step in all_steps if step.kind is StepKind.PLACE]
    placed = placements.of_version(conn, release.version_id) if release.version_id else []
    hold = holds.find(conn, release.model)
    newer = [other.id for other in releases.unfinished(conn, release.model) if other.number > release.number]
    moving = flips.of_release(conn, release.id)
    return ReleaseSnapshot(
        phase=release.phase,
        rollback=release.rollback,
        pinned=release.version_id is not None,
        place_groups=groups(context.topology, release.model, routing, begun),
        feeds=context.topology.feeds_of(release.model),
        bindings=tuple(binding.name for binding in context.topology.bindings_of(release.model)),
        placements={placement.target: placement.phase for placement in placed},
        steps=tuple(StepView(s.kind, s.subject, s.state, s.reason, s.hint) for s in all_steps),
        flips={flip.binding: flip.phase for flip in moving},
        newer=newer[-1] if newer else "",
        held=f"{hold.who}: {hold.why}" if hold else "",
        cancelled=release.cancel,
        wait=gate_of(context, conn, release),
        undo_reason=release.reason if release.phase is ReleasePhase.UNDOING else "",
        undo_hint=release.hint if release.phase is ReleasePhase.UNDOING else "",
        needs=context.topology.needs_of(release.model),
        rollout=rollout.of(conn, context, release, moving),
    )


def _apply(context: Context, conn: Connection, release: Release, decision: Decision, all_steps: Sequence[Step]) -> bool:
    now = context.state.now(conn)
    changed = False
    for target in decision.place:
        assert release.version_id is not None
        placements.ensure(conn, release.version_id, target, now)
        changed = True
    if decision.claim:
        changed |= claim(context, conn, release, decision.claim)
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
            base_images.settle(conn, release, now)
            releases.note_left_behind(conn, release)
        changed = True
    changed |= rollout.apply(conn, context, release, decision)
    if decision.note is not None and (release.reason, release.hint) != (decision.note.reason, decision.note.hint):
        releases.note(conn, release.id, decision.note.reason, decision.note.hint, now)
    _want(conn, release, decision, all_steps, context)
    return changed


def _want(conn: Connection, release: Release, decision: Decision, all_steps: Sequence[Step], context: Context) -> None:
    now = context.state.now(conn)
    known = {(step.kind, step.subject): step for step in all_steps}
    for kind, subject in decision.want:
        step = known.get((kind, subject))
        if step is None:
            steps.ensure(conn, release.id, kind, subject, queue_of(context.topology, kind, subject, Routing()), now)
        elif step.state in STEP_ENDS:
            # It ended, but its result is missing: do it again rather than wait for ever.
            steps.reopen(conn, step, now)


def _is_due(context: Context, step: Step, now: datetime, unheard_s: float, queue: str) -> bool:
    if step.state is StepState.WAITING:
        return not now < step.due_at <= now + steps.DUE_MAX  # later than that is from before the clock was set back
    if step.state is StepState.RUNNING:
        return step.lease_until is not None and step.lease_until < now
    if step.state is not StepState.QUEUED or abs(now - step.due_at) < timedelta(seconds=unheard_s):
        return False
    carried = context.engine.status(step.id, step.attempt)
    if carried is ExecutionStatus.RUNNING:  # a worker begins what it claims at once: one that has not by then has died
        return abs(now - step.due_at) > timedelta(seconds=UNHEARD_S)
    if carried is ExecutionStatus.WAITING:  # in a queue that nobody serves any more, or that a worker serves by now
        return step.queue != queue
    return True
