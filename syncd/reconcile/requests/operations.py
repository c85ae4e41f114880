"""Requests of people and pipelines: publish, roll back, cancel, approve, hold, freeze.

Each is one transaction on the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from syncd.artifact.digest import Digest
from syncd.artifact.names import ModelName, VersionName, parse_model, parse_version
from syncd.errors import Conflict, Invalid, NotFound, Unavailable
from syncd.plan.phases import RELEASE_ENDS, FlipPhase, ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.requests.create import Intent, RequestOrigin, create
from syncd.registry.base import Registry
from syncd.state.content import base_images, versions
from syncd.state.records import Approval, Freeze, Hold, Release
from syncd.state.releases import approvals, freezes, holds, idempotency, releases, rollouts
from syncd.state.releases.transitions import advance
from syncd.state.serving import flips, live
from syncd.state.state import State
from syncd.values.shown_text import WHO_MAX, shown_text

BEFORE_FIRST_FLIP: Final = frozenset({ReleasePhase.REQUESTED, ReleasePhase.PLACING, ReleasePhase.STAGING})

REASON: Final = "the reason"
FREEZE_HOURS_MIN: Final = 1 / 60
FREEZE_HOURS_MAX: Final = 8784.0  # a year
MANUAL: Final = "manual"  # the reason when none is given
_REVISIONS_TRIED_MAX: Final = 5  # each retry follows a write by another process; a release has few


@dataclass(frozen=True, slots=True)
class Requester:
    """In whose name something is asked for, and in which world."""

    world: World
    who: str
    origin: RequestOrigin = RequestOrigin.PERSON

    def __post_init__(self) -> None:
        """Raises Invalid for a name that cannot be shown."""
        shown_text(self.who, "the requester's name", WHO_MAX)

    @property
    def state(self) -> State:
        """The record."""
        return self.world.state

    @property
    def topology(self) -> Topology:
        """The configured shape."""
        return self.world.topology


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key that makes a repeated request return the first release, whatever became of it."""

    asker: str
    key: str


def publish(requester: Requester, model: str, version: str, once: IdempotencyKey | None = None) -> Release:
    """Request a release of `model@version`. A repeated request while it is under way returns the same release.

    A request for the live version begins a release too: it verifies every region, and moves the aliases that are
    elsewhere. The record alone proves nothing. With a key (`once`) that was used for the same request before, the
    release of that request is returned, also when it has ended.

    Raises:
        Held: The model is on hold.
        NotFound: No binding serves the model.
        Conflict: The version is quarantined, or the key was used for something else.
    """
    name, ref = parse_model(model), parse_version(version)
    check_served(requester.topology, name)
    with requester.state.write() as conn:
        if once is None:
            return _published(conn, requester, name, ref)
        body = Digest(hashlib.sha256(f"publish {name}@{ref}".encode()).hexdigest())
        known = idempotency.claim(conn, once.asker, once.key, body, requester.state.now(conn))
        if known is not None:
            return releases.get(conn, known)
        release = _published(conn, requester, name, ref)
        idempotency.settle(conn, once.asker, once.key, release.id)
        return release


def _published(conn: Connection, requester: Requester, name: ModelName, ref: VersionName) -> Release:
    registry = requester.topology.registry_of(name)
    intent = Intent(requester.origin, name, ref, registry, requester.who)
    return create(conn, intent, requester.state.now(conn))


def rollback(requester: Requester, model: str, why: str) -> Release:
    """Go back to the version that was live before, or to its image over the base before, and hold the model there.

    A release in the middle of its flips is undone instead, which leads to the same versions; one that brings the live
    version to a region that lacks it is undone as well. Releases of this model that have moved nothing are superseded.

    Raises:
        Invalid: The reason is too long or not printable.
        NotFound: There is nothing to go back to.
    """
    name = parse_model(model)
    shown_text(why, REASON)
    check_served(requester.topology, name)
    for _ in range(_REVISIONS_TRIED_MAX):
        with suppress(Conflict):  # a flip was recorded between the read and the write: read again
            return _rolled_back(requester, name, why)
    return _rolled_back(requester, name, why)


def _rolled_back(requester: Requester, name: ModelName, why: str) -> Release:
    with requester.state.write() as conn:
        now = requester.state.now(conn)
        moving = [r for r in releases.unfinished(conn, name) if r.phase not in BEFORE_FIRST_FLIP]
        reason = why or "rolled back"
        before = live.previous_release(conn, name)
        for release in moving:
            _hold(conn, name, requester.who, reason, requester.state)
            if release.phase is not ReleasePhase.FLIPPING or release.rollback:
                return _rollback_behind(conn, release) or release
            undone = _undo(conn, release, f"rolled back by {requester.who}: {reason}", requester.state)
            if before is None or not live.is_again(conn, release):
                return undone
        if before is None or before.version_id is None:
            raise NotFound(f"{name} has no earlier version to go back to", hint="`syncd releases` lists what there was")
        _hold(conn, name, requester.who, reason, requester.state)
        intent = Intent(RequestOrigin.ROLLBACK, name, before.ref, before.registry, requester.who, before.version_id)
        release = create(conn, intent, now)
        base_images.take_over(conn, before, release)
        return release


def _rollback_behind(conn: Connection, release: Release) -> Release | None:
    """The rollback that waits for a release to be undone, if there is one."""
    later = releases.unfinished(conn, release.model)
    return next((other for other in later if other.rollback and other.number > release.number), None)


def hold(requester: Requester, model: str, why: str = MANUAL) -> Hold:
    """Put the model on hold: automation releases nothing of it. A second hold keeps the first reason.

    Raises:
        Invalid: The reason is too long or not printable.
        NotFound: No binding serves the model.
    """
    name = parse_model(model)
    shown_text(why, REASON)
    check_served(requester.topology, name)
    with requester.state.write() as conn:
        return _hold(conn, name, requester.who, why, requester.state)


def unhold(requester: Requester, model: str) -> bool:
    """Lift a hold. Returns whether there was one; also of a model that is no longer configured.

    Raises:
        NotFound: There was none, and no binding serves the model.
    """
    name = parse_model(model)
    with requester.state.write() as conn:
        lifted = holds.lift(conn, name, requester.who, requester.state.now(conn))
    if not lifted:
        check_served(requester.topology, name)
    return lifted


def unquarantine(requester: Requester, model: str, version: str, why: str) -> bool:
    """Lift the quarantine of a version. Returns whether there was one.

    The next poll compares the registry with the record again.

    Raises:
        Invalid: The reason is too long or not printable.
        NotFound: There is no such version.
    """
    name, ref = parse_model(model), parse_version(version)
    shown_text(why, REASON)
    with requester.state.write() as conn:
        known = versions.find(conn, name, ref)
        if known is None:
            raise NotFound(f"there is no version {name}@{ref} in the record", hint=f"`syncd releases {name}`")
        return versions.lift_quarantine(conn, known, requester.who, why, requester.state.now(conn))


def cancel(requester: Requester, release_id: str, why: str) -> Release:
    """Request the end of a release: before it moves any alias, or between its stages, when all of it goes back.

    Its copies stay. A repeated request is success.

    Raises:
        Invalid: The reason is too long or not printable.
        NotFound: There is no such release.
        Conflict: It has ended already, or is moving aliases and has nothing to wait for between.
    """
    shown_text(why, REASON)
    for _ in range(_REVISIONS_TRIED_MAX):
        with requester.state.write() as conn:
            release = releases.get(conn, release_id)
            if release.phase is ReleasePhase.CANCELLED:
                return release
            if release.phase in RELEASE_ENDS:
                raise Conflict(f"{release.id} has ended: it is {release.phase}")
            if release.phase not in BEFORE_FIRST_FLIP and not _is_in_steps(conn, release):
                raise Conflict(
                    f"{release.id} is {release.phase}: it is moving aliases",
                    hint=f"`syncd rollback {release.model}` takes them back",
                )
            word = f"{requester.who}: {why}" if why else requester.who
            if releases.request_cancel(conn, release, word, requester.state.now(conn)):
                return release
    raise Conflict(f"{release_id} changed while the request was recorded", hint="try again")


def _is_in_steps(conn: Connection, release: Release) -> bool:
    return release.phase is ReleasePhase.FLIPPING and rollouts.find(conn, release.id) is not None


def approve(requester: Requester, release_id: str) -> Approval:
    """Approve a release for the digest of its version. Approving it again is success.

    Raises:
        NotFound: There is no such release.
        Conflict: It has ended already, or its digest is not known yet.
    """
    with requester.state.write() as conn:
        release = releases.get(conn, release_id)
        if release.phase in RELEASE_ENDS:
            raise Conflict(f"{release.id} has ended: it is {release.phase}")
        if release.version_id is None:
            raise Conflict(f"{release.id}: its digest is not known yet", hint="the registry is being read; try again")
        digest = versions.get(conn, release.version_id).digest
        return approvals.put(conn, release, digest, requester.who, requester.state.now(conn))


def freeze(requester: Requester, model: str | None, why: str, lasts: timedelta | None) -> Freeze:
    """Freeze a model, or all: no flip until it is lifted or `lasts` is over. Copies and rollbacks go on.

    Raises:
        Invalid: The reason is too long or not printable.
        NotFound: No binding serves the model.
    """
    name = freezes.ALL_MODELS if model is None else parse_model(model)
    shown_text(why, REASON)
    if model is not None:
        check_served(requester.topology, name)
    with requester.state.write() as conn:
        now = requester.state.now(conn)
        return freezes.put(conn, name, requester.who, why, now + lasts if lasts else None, now)


def freeze_time(hours: float) -> timedelta | None:
    """How long a freeze lasts; None, until it is lifted, for 0 hours.

    Raises:
        Invalid: Less than a minute, which would be over before anybody is kept from anything, or more than a year.
    """
    if hours == 0:
        return None
    if not FREEZE_HOURS_MIN <= hours <= FREEZE_HOURS_MAX:  # false for NaN too
        hint = "0 freezes until `syncd unfreeze`"
        raise Invalid(f"hours: expected 0, or {FREEZE_HOURS_MIN:.4f} (a minute) to {FREEZE_HOURS_MAX:g}", hint=hint)
    return timedelta(hours=hours)


def unfreeze(requester: Requester, model: str | None) -> bool:
    """Lift the freeze of a model, or that of all. Returns whether there was one, as `unhold` does.

    Raises:
        NotFound: There was none, and no binding serves the model.
    """
    name = freezes.ALL_MODELS if model is None else parse_model(model)
    with requester.state.write() as conn:
        lifted = freezes.lift(conn, name, requester.who, requester.state.now(conn))
    if not lifted and model is not None:
        check_served(requester.topology, name)
    return lifted


def check_known(registries: Mapping[str, Registry], topology: Topology, model: ModelName, version: VersionName) -> None:
    """Raises NotFound where the registry can be read from here and has no such version: nothing is recorded then.

    A release waits for a version that is incomplete, and for a registry that is unreachable.
    """
    with suppress(Unavailable):
        registries[topology.registry_of(model)].resolve(model, version)


def check_served(topology: Topology, model: str) -> None:
    """Raises NotFound where no binding serves the model."""
    if not topology.bindings_of(model):
        known = ", ".join(sorted(topology.models())) or "none"
        raise NotFound(f"no binding serves the model {model!r}", hint=f"models with bindings: {known}")


def _hold(conn: Connection, model: ModelName, who: str, why: str, state: State) -> Hold:
    return holds.find(conn, model) or holds.put(conn, model, who, why, state.now(conn))


def _undo(conn: Connection, release: Release, reason: str, state: State) -> Release:
    now = state.now(conn)
    for flip in flips.of_release(conn, release.id):
        if flip.phase is FlipPhase.PROBED:
            advance(conn, flip, FlipPhase.ABANDONED, now=now)
    rollouts.expedite(conn, release.id)
    return advance(conn, release, ReleasePhase.UNDOING, now=now, reason=reason)
