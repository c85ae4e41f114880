"""Rollbacks: back to the version before, or to a chosen one, and a hold so that automation stays away.

Each is one transaction on the record.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection

from syncd.artifact.names import ModelName, VersionName, parse_model, parse_version
from syncd.errors import Conflict, Invalid, NotFound
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.requests import version_names
from syncd.reconcile.requests.create import Intent, RequestOrigin, create
from syncd.reconcile.requests.operations import (
    BEFORE_FIRST_FLIP,
    REASON,
    REVISIONS_TRIED_MAX,
    Requester,
    check_served,
    put_on_hold,
)
from syncd.state.content import base_images, versions
from syncd.state.records import Release
from syncd.state.releases import releases, rollouts
from syncd.state.releases.events import advance
from syncd.state.serving import flips, live
from syncd.state.state import State
from syncd.values.shown_text import shown_text


def rollback(requester: Requester, model: str, why: str, to: str = "") -> Release:
    """Go back to the version that was live before, or to its image over the base before, and hold the model there.

    With `to`, to that version, which has to have been live once.

    A release in the middle of its flips is undone instead, which leads to the same versions; one that brings the live
    version to a region that lacks it is undone as well. Releases of this model that have moved nothing are superseded.

    Raises:
        NotFound: There is nothing to go back to, or `to` was never live.
        Invalid: The reason is too long or not printable, or `to` is live and nothing moves away from it.
    """
    name = parse_model(model)
    shown_text(why, REASON)
    wanted = parse_version(to) if to else None
    check_served(requester.topology, name)
    for _ in range(REVISIONS_TRIED_MAX):
        with suppress(Conflict):  # a flip was recorded between the read and the write: read again
            return _rolled_back(requester, name, why) if wanted is None else _back_to(requester, name, wanted, why)
    return _rolled_back(requester, name, why) if wanted is None else _back_to(requester, name, wanted, why)


def _back_to(requester: Requester, name: ModelName, wanted: VersionName, why: str) -> Release:
    """Undo what is moving, and begin a rollback to a chosen version unless the undo leads there."""
    state, reason = requester.state, why or f"rolled back to {wanted}"
    with state.write() as conn:
        goal = _once_live(conn, name, wanted)
        current = live.current_release(conn, name)
        is_current = current is not None and current.version_id == goal.version_id
        moving = [r for r in releases.unfinished(conn, name) if r.phase not in BEFORE_FIRST_FLIP]
        for release in moving:
            if release.rollback and release.version_id == goal.version_id:
                put_on_hold(conn, name, requester.who, reason, state)
                return release
        if is_current and not moving and _serves_everywhere(conn, requester.topology, name, goal.version_id):
            raise Invalid(f"{name}@{wanted} is live already", hint=f"`syncd hold {name}` keeps newer versions away")
        put_on_hold(conn, name, requester.who, reason, state)
        undone = [
            _undo(conn, release, f"rolled back by {requester.who}: {reason}", state)
            for release in moving
            if release.phase is ReleasePhase.FLIPPING and not release.rollback
        ]
        if undone and is_current and len(undone) == len(moving):
            return undone[-1]
        return _begin_rollback(conn, requester, name, goal)


def _once_live(conn: Connection, name: ModelName, wanted: VersionName) -> Release:
    known = versions.find(conn, name, wanted)
    before = live.was_live(conn, name)
    goal = next((r for r in before if r.version_id and known is not None and r.version_id == known.id), None)
    if goal is None:
        names = list(dict.fromkeys(versions.get(conn, r.version_id).name for r in before if r.version_id))
        raise NotFound(
            f"{name}@{wanted} was never live", hint=version_names.choices(wanted, names, "versions that were live")
        )
    return goal


def _serves_everywhere(conn: Connection, topology: Topology, name: ModelName, version_id: str | None) -> bool:
    rows = [live.get(conn, binding.name) for binding in topology.bindings_of(name)]
    return all(row is not None and row.models.get(name) == version_id for row in rows)


def _begin_rollback(conn: Connection, requester: Requester, name: ModelName, goal: Release) -> Release:
    intent = Intent(RequestOrigin.ROLLBACK, name, goal.ref, goal.registry, requester.who, goal.version_id)
    release = create(conn, intent, requester.state.now(conn))
    base_images.take_over(conn, goal, release)
    return release


def _rolled_back(requester: Requester, name: ModelName, why: str) -> Release:
    with requester.state.write() as conn:
        moving = [r for r in releases.unfinished(conn, name) if r.phase not in BEFORE_FIRST_FLIP]
        reason = why or "rolled back"
        before = live.previous_release(conn, name)
        for release in moving:
            put_on_hold(conn, name, requester.who, reason, requester.state)
            if release.phase is not ReleasePhase.FLIPPING or release.rollback:
                return _rollback_behind(conn, release) or release
            undone = _undo(conn, release, f"rolled back by {requester.who}: {reason}", requester.state)
            if before is None or not live.is_again(conn, release):
                return undone
        if before is None or before.version_id is None:
            raise NotFound(f"{name} has no earlier version to go back to", hint="`syncd releases` lists what there was")
        put_on_hold(conn, name, requester.who, reason, requester.state)
        return _begin_rollback(conn, requester, name, before)


def _rollback_behind(conn: Connection, release: Release) -> Release | None:
    """The rollback that waits for a release to be undone, if there is one."""
    later = releases.unfinished(conn, release.model)
    return next((other for other in later if other.rollback and other.number > release.number), None)


def _undo(conn: Connection, release: Release, reason: str, state: State) -> Release:
    now = state.now(conn)
    for flip in flips.of_release(conn, release.id):
        if flip.phase is FlipPhase.PROBED:
            advance(conn, flip, FlipPhase.ABANDONED, now=now)
    rollouts.expedite(conn, release.id)
    return advance(conn, release, ReleasePhase.UNDOING, now=now, reason=reason)
