"""Sweep: clears copies that no release has touched for a day, and old rows of the record and the engine.

A version is withdrawn from a target once its placement is marked as going.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from syncd.artifact.manifest import Manifest
from syncd.errors import Conflict, SyncdError
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import Context
from syncd.state.access import deliveries
from syncd.state.content import layers, placements, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Placement
from syncd.state.releases import idempotency, releases
from syncd.state.releases.events import advance
from syncd.state.state import State
from syncd.targets.base import Target

log = structlog.get_logger("syncd.sweep")

IDLE_MAX: Final = timedelta(days=1)  # until then a stalled release can be fixed and requested again
ENGINE_ROWS_KEPT: Final = timedelta(days=7)


def sweep(context: Context) -> int:
    """Run one pass. Returns the number of incomplete copies that were cleared; repeating it is harmless.

    A copy is marked as going before its first file is deleted, in a transaction that sees no unfinished release of its
    version; a later release waits until the copy is gone. Sealed versions are never touched.
    """
    with context.state.read() as conn:
        rows_before = context.state.now(conn) - ENGINE_ROWS_KEPT
        begun = placements.unsealed(conn, context.state.now(conn) - IDLE_MAX)
    context.engine.forget(rows_before)
    with context.state.write() as conn:
        now = context.state.now(conn)
        deliveries.forget(conn, now - deliveries.KEPT, tuple(context.registries))
        idempotency.forget(conn, now - idempotency.KEPT)
        layers.forget(conn, now - layers.KEPT)
    return sum(_cleared(context, placement) for placement in begun)


def _cleared(context: Context, placement: Placement) -> bool:
    target = context.targets.get(placement.target)
    if target is None or placement.target in context.topology.replicas:
        return False  # no longer configured, or filled by replication, which would not copy it again
    try:
        going = _mark(context, placement)
        if going is None:
            return False
        manifest = withdraw(context.state, target, going)
    except SyncdError as error:  # the next sweep finds it marked and continues
        log.warning("placement.not_cleared", message="An incomplete copy could not be cleared.",
                    target=placement.target, error=error.message)  # fmt: skip
        return False
    log.info("placement.cleared", message="An incomplete copy was cleared.", target=placement.target,
             model=manifest.model, version=manifest.version)  # fmt: skip
    return True


def _mark(context: Context, placement: Placement) -> Placement | None:
    """Mark it as going; None if a release needs it after all, or if its phase changed meanwhile."""
    if placement.phase is PlacementPhase.WITHDRAWING:
        return placement
    with context.state.write() as conn:
        if any(release.version_id == placement.version_id for release in releases.unfinished(conn)):
            return None
        try:
            return advance(conn, placement, PlacementPhase.WITHDRAWING, now=context.state.now(conn))
        except Conflict:
            return None


def withdraw(state: State, target: Target, going: Placement) -> Manifest:
    """Remove the bytes, then record that they are gone. Repeating it is harmless, also concurrently.

    Raises:
        Unavailable, Refused: As the target says; it stays marked, and the next call continues.
    """
    with state.read() as conn:
        manifest = versions.manifest(conn, going.version_id)
    target.withdraw(manifest, SqlJournal(state, going.version_id, going.target))
    abandon(state, going)
    return manifest


def abandon(state: State, going: Placement) -> None:
    """Record that it is gone. For an image this is all: a function version may still need its bytes."""
    with state.write() as conn:
        now = placements.get(conn, going.version_id, going.target)
        if now.phase is PlacementPhase.WITHDRAWING:
            advance(conn, now, PlacementPhase.WITHDRAWN, now=state.now(conn))
