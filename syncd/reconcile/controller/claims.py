"""Claims of aliases: which release may take one from which other release, and what a release waits for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from syncd.errors import Conflict, NotFound
from syncd.plan.gate import Blocked, blocked_at
from syncd.plan.phases import UNMOVED, ReleasePhase, StepKind, StepState
from syncd.reconcile.context import Context
from syncd.state.content import versions
from syncd.state.records import Flip, Release
from syncd.state.releases import approvals, freezes, releases, rollouts, steps
from syncd.state.serving import flips

_GATED: Final = frozenset({ReleasePhase.STAGING, ReleasePhase.FLIPPING})
_PREPARES: Final = (StepKind.STAGE, StepKind.PROBE)
_OF_ALIAS: Final = (*_PREPARES, StepKind.WEIGH, StepKind.FLIP)
_WAITS_FOR: Final = "waits for "


def claim(context: Context, conn: Connection, release: Release, bindings: Sequence[str]) -> bool:
    """Claim aliases: all or none, and in a rollback each for itself. Whether any is new.

    What has moved nothing yields its claim to a rollback, and a release that waits yields it to a newer one that does
    not. It claims the alias again when that release has ended, and prepares a function version anew. Where somebody
    else keeps an alias, the release's reason says who.
    """
    now = context.state.now(conn)
    before = len(flips.of_release(conn, release.id))
    holder = ""
    for together in [[binding] for binding in bindings] if release.rollback else [bindings]:
        holder = _claim_together(context, conn, release, together, now) or holder
    reason, hint = "", ""
    if holder:
        reason = f"{_WAITS_FOR}{holder}, which is moving an alias this release needs"
        hint = _hint(conn, holder) if release.rollback else ""
    if (release.reason, release.hint) != (reason, hint) and (holder or release.reason.startswith(_WAITS_FOR)):
        releases.note(conn, release.id, reason, hint, now)
    return len(flips.of_release(conn, release.id)) > before


def gate_of(context: Context, conn: Connection, release: Release) -> Blocked | None:
    """What keeps a release at the barrier, and from one stage to the next. A rollback has no gate."""
    if release.rollback or release.phase not in _GATED or release.version_id is None:
        return None
    unapproved = False
    if context.gates.wants_approval(release.model):
        approved = approvals.find(conn, release.id)
        unapproved = approved is None or approved.digest != versions.get(conn, release.version_id).digest
    now = context.state.now(conn)
    frozen = [f"frozen by {freeze.who}: {freeze.why}" for freeze in freezes.of(conn, release.model, now)]
    if window := context.gates.window(release.model, now):
        frozen.append(f"nothing is flipped {window}")
    return blocked_at(release.id, unapproved=unapproved, frozen=frozen)


def own_releases(context: Context, conn: Connection, release_id: str) -> set[str]:
    """A release and those it waits for: releases of its model, and releases that move an alias it needs."""
    release = releases.get(conn, release_id)
    names = [binding.name for binding in context.topology.bindings_of(release.model)]
    moving = {f.release_id for f in flips.held_by_others(conn, release_id, names) if f.phase not in UNMOVED}
    return {release_id, *moving, *(other.id for other in releases.unfinished(conn, release.model))}


def _claim_together(
    context: Context, conn: Connection, release: Release, bindings: Sequence[str], now: datetime
) -> str | None:
    for _ in range(2):
        try:
            holder = flips.claim(conn, release, bindings, now)
        except Conflict as conflict:
            return conflict.message
        if holder is None or not _take_over(context, conn, release, bindings, now):
            return holder
    return holder


def _take_over(context: Context, conn: Connection, release: Release, bindings: Sequence[str], now: datetime) -> bool:
    """Have others yield the claims that stand in the way, all or none. Whether there were any.

    Raises:
        Conflict: One has begun to move its alias meanwhile; nothing of this transaction may stay.
    """
    held = flips.held_by_others(conn, release.id, bindings)
    if not held or not all(_yields(context, conn, flip, release) for flip in held):
        return False
    for flip in held:
        # The step first, as its worker does: two transactions that lock in one order cannot lock each other out.
        steps.withdraw(conn, flip.release_id, flip.binding, _OF_ALIAS, now)
        flips.yield_to(conn, flip, release.id, now)
    return True


def _yields(context: Context, conn: Connection, flip: Flip, taker: Release) -> bool:
    """Whether a flip's release gives up its claim to another. Of two forward releases only the older one ever does."""
    if flip.phase not in UNMOVED:
        return False
    holder = releases.get(conn, flip.release_id)
    if taker.rollback and not holder.rollback:
        return True
    if holder.rollback != taker.rollback or holder.number > taker.number:
        return False
    return _is_waiting(context, conn, holder) and gate_of(context, conn, taker) is None


def _is_waiting(context: Context, conn: Connection, release: Release) -> bool:
    """Whether a release waits for a person, a time or a region, and not for work that is under way."""
    if gate_of(context, conn, release) is not None:
        return True
    prepares = [step for step in steps.of_release(conn, release.id) if step.kind in {*_PREPARES, StepKind.PLACE}]
    return any(s.state is StepState.STALLED or (s.state is StepState.WAITING and s.failures) for s in prepares)


def _hint(conn: Connection, holder: str) -> str:
    """The command that undoes a move of an alias that a rollback needs."""
    try:
        release = releases.get(conn, holder)
    except NotFound:  # a restore, in words
        return ""
    if release.phase is not ReleasePhase.FLIPPING or release.rollback:
        return ""
    if rollouts.find(conn, holder) is not None:
        return f"`syncd cancel {holder}` takes that one back now, and this goes on"
    return f"`syncd rollback {release.model}` takes that one back now, and this goes on"
