"""Backfill: a new release of the same version for regions that a live release left behind."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from syncd.errors import Conflict
from syncd.reconcile.context import Context
from syncd.reconcile.requests.create import Intent, RequestOrigin, create
from syncd.state.records import Release
from syncd.state.releases import releases, rollouts

log = structlog.get_logger("syncd.catchup")


def backfill(context: Context) -> bool:
    """Begin a release of the same version for each live release that left a region behind. Whether one was begun.

    Not before the deadline of its strategy has passed since it went live, so that a region that stays unavailable is
    tried once in that time; not where a newer release was requested, or a guard refuses it.
    """
    with context.state.read() as conn:
        due = _due(conn, context.state.now(conn))
    begun = False
    for left in due:
        intent = Intent(
            RequestOrigin.BACKFILL, left.model, left.ref, left.registry, f"syncd, for what {left.id} left behind"
        )
        try:
            with context.state.write() as conn:
                if left not in _due(conn, context.state.now(conn)):
                    continue
                again = create(conn, intent, context.state.now(conn))
        except Conflict as refused:
            log.debug(
                "backfill.refused",
                message="A region that was left behind gets no release now.",
                left_by=left.id,
                model=left.model,
                reason=refused.message,
            )
            continue
        begun = True
        log.info(
            "backfill.requested",
            message="A release is begun for the regions that an earlier one left behind.",
            release=again.id,
            model=left.model,
            version=left.ref,
            left_by=left.id,
        )
    return begun


def _due(conn: Connection, now: datetime) -> list[Release]:
    found = []
    for left in releases.live_with_abandoned(conn):
        rollout = rollouts.find(conn, left.id)
        if rollout is not None:
            due_at = left.updated_at + timedelta(seconds=rollout.strategy.deadline_s)
            found += [left] if due_at <= now else []
    return found
