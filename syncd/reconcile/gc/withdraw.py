"""Withdrawal of a version from a target, once its placement is marked as going."""

from __future__ import annotations

from syncd.artifact.manifest import Manifest
from syncd.plan.phases import PlacementPhase
from syncd.state.content import placements, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.records import Placement
from syncd.state.releases.events import advance
from syncd.state.state import State
from syncd.targets.base import Target


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
