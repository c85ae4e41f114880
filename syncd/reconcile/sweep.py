"""Clear what nobody will finish: uploads of versions that no unfinished release wants, and the engine's old rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from syncd.errors import SyncdError
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.rooms import Rooms
from syncd.state import placements, releases, versions
from syncd.state.journal import SqlJournal, open_uploads

log = structlog.get_logger("syncd.sweep")
FORGOTTEN_AFTER: Final = timedelta(days=7)  # attempts that ended: the record has its own events of them


def sweep(rooms: Rooms) -> int:
    """One pass. Returns how many versions at targets were cleared; repeating it is harmless."""
    with rooms.state.read() as conn:
        wanted = {release.version_id for release in releases.unfinished(conn)}
        forgotten_before = rooms.state.now(conn) - FORGOTTEN_AFTER
        stale = sorted({(u.version_id, u.target) for u in open_uploads(conn) if u.version_id not in wanted})
    rooms.engine.forget(forgotten_before)
    cleared = 0
    for version_id, target_name in stale:
        target = rooms.targets.get(target_name)
        if target is None:
            continue  # taken out of the configuration: nothing here can reach it
        with rooms.state.read() as conn:
            manifest = versions.manifest(conn, version_id)
            phase = placements.get(conn, version_id, target_name).phase
        if phase is PlacementPhase.SEALED:
            continue
        try:
            target.withdraw(manifest, SqlJournal(rooms.state, version_id, target_name))
        except SyncdError as error:
            log.warning("could not clear a half-done copy", target=target_name, error=error.message)
            continue
        cleared += 1
        log.info("cleared a half-done copy", target=target_name, model=manifest.model, version=manifest.version)
    return cleared
