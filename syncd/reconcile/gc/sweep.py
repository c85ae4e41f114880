"""Clear what nobody will finish: copies that were begun and left alone for a day, and the engine's old rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from syncd.errors import Conflict, SyncdError
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import Context
from syncd.reconcile.gc.withdraw import withdraw
from syncd.state.access import deliveries
from syncd.state.content import layers, placements
from syncd.state.records import Placement
from syncd.state.releases import idempotency, releases
from syncd.state.releases.transitions import advance

log = structlog.get_logger("syncd.sweep")

LEFT_ALONE: Final = timedelta(days=1)  # a stalled release may be mended and asked for again until then
ENGINE_ROWS_KEPT: Final = timedelta(days=7)


def sweep(context: Context) -> int:
    """One pass. Returns how many half-done copies were cleared; repeating it is harmless.

    A copy is marked as going before the first of its files is, in a transaction that sees no unfinished release
    of its version; a release that comes after that waits until it is gone. Sealed versions are never touched.
    """
    with context.state.read() as conn:
        rows_before = context.state.now(conn) - ENGINE_ROWS_KEPT
        begun = placements.unsealed(conn, context.state.now(conn) - LEFT_ALONE)
    context.engine.forget(rows_before)
    with context.state.write() as conn:
        now = context.state.now(conn)
        deliveries.forget(conn, now - deliveries.KEPT)
        idempotency.forget(conn, now - idempotency.KEPT)
        layers.forget(conn, now - layers.KEPT)
    return sum(_cleared(context, placement) for placement in begun)


def _cleared(context: Context, placement: Placement) -> bool:
    target = context.targets.get(placement.target)
    if target is None or placement.target in context.topology.replicas:
        return False  # taken out of the configuration, or filled by replication, which would not bring it again
    try:
        going = _mark(context, placement)
        if going is None:
            return False
        manifest = withdraw(context.state, target, going)
    except SyncdError as error:  # the next sweep finds it marked, and goes on
        log.warning("could not clear a half-done copy", target=placement.target, error=error.message)
        return False
    log.info("cleared a half-done copy", target=placement.target, model=manifest.model, version=manifest.version)
    return True


def _mark(context: Context, placement: Placement) -> Placement | None:
    """Mark it as going; None where a release wants it after all, or somebody moved it meanwhile."""
    if placement.phase is PlacementPhase.WITHDRAWING:
        return placement
    with context.state.write() as conn:
        if any(release.version_id == placement.version_id for release in releases.unfinished(conn)):
            return None
        try:
            return advance(conn, placement, PlacementPhase.WITHDRAWING, now=context.state.now(conn))
        except Conflict:
            return None
