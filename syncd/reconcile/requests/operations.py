"""Requests of people and pipelines: publish, cancel, approve, hold, freeze.

Each is one transaction on the record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from syncd.artifact.digest import Digest
from syncd.artifact.names import ModelName, VersionName, parse_model, parse_version
from syncd.errors import Conflict, Invalid, NotFound, Unavailable
from syncd.plan.phases import RELEASE_ENDS, ReleasePhase
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.requests import version_names
from syncd.reconcile.requests.create import Intent, RequestOrigin, create
from syncd.state.content import versions
from syncd.state.records import Approval, Freeze, Hold, Release
from syncd.state.releases import approvals, events, freezes, holds, idempotency, releases, rollouts, steps
from syncd.state.state import State
from syncd.values.shown_text import WHO_MAX, shown_text

BEFORE_FIRST_FLIP: Final = frozenset({ReleasePhase.REQUESTED, ReleasePhase.PLACING, ReleasePhase.STAGING})

REASON: Final = "the reason"
FREEZE_HOURS_MIN: Final = 1 / 60
FREEZE_HOURS_MAX: Final = 8784.0  # a year
DISMISSIBLE: Final = frozenset({ReleasePhase.STALLED, ReleasePhase.UNDONE})
DISMISSED: Final = "release.dismissed"  # the event that takes a release off `status`
MANUAL: Final = "manual"  # the reason when none is given
REVISIONS_TRIED_MAX: Final = 5  # each retry follows a write by another process; a release has few


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
    asked: str = ""  # the name in the request, where it is not the resolved MODEL@VERSION


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
        known = idempotency.claim(conn, once.asker, once.key, _body(once, f"{name}@{ref}"), requester.state.now(conn))
        if known is not None:
            return releases.get(conn, known)
        release = _published(conn, requester, name, ref)
        idempotency.settle(conn, once.asker, once.key, release.id)
        return release


def repeated(requester: Requester, once: IdempotencyKey) -> Release | None:
    """The release that a request for the same name with the same key got before: what the name means now is nothing.

    Raises:
        Conflict: The key was used for something else.
    """
    with requester.state.read() as conn:
        known = idempotency.find(conn, once.asker, once.key, _body(once, once.asked))
        return None if known is None else releases.get(conn, known)


def _body(once: IdempotencyKey, resolved: str) -> Digest:
    text = f"publish name {once.asked}" if once.asked else f"publish {resolved}"
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def _published(conn: Connection, requester: Requester, name: ModelName, ref: VersionName) -> Release:
    registry = requester.topology.registry_of(name)
    intent = Intent(requester.origin, name, ref, registry, requester.who)
    now = requester.state.now(conn)
    release = create(conn, intent, now)
    steps.retry_now(
        conn, release.id, requester.who, now
    )  # of one that is under way: who asks again has fixed something
    return release


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
        return put_on_hold(conn, name, requester.who, why, requester.state)


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
    for _ in range(REVISIONS_TRIED_MAX):
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


@dataclass(frozen=True, slots=True)
class Retried:
    """A release whose waiting steps are due now, and those steps; none if nothing waited."""

    release: Release
    steps: tuple[str, ...]  # "place targets"


def retry(requester: Requester, release_id: str | None = None) -> list[Retried]:
    """Make the waiting steps of a release, or of all that are in flight, due now. Failures stay counted.

    Raises:
        NotFound: There is no such release.
        Conflict: It has ended: another release is needed.
    """
    with requester.state.write() as conn:
        now = requester.state.now(conn)
        if release_id is None:
            chosen = releases.unfinished(conn)
        else:
            release = releases.get(conn, release_id)
            if release.phase in RELEASE_ENDS:
                hint = f"`syncd publish {release.model}@{release.ref}` releases it again"
                raise Conflict(f"{release.id} has ended: it is {release.phase}", hint=hint)
            chosen = [release]
        found = [(each, steps.retry_now(conn, each.id, requester.who, now)) for each in chosen]
    return [Retried(each, tuple(sorted(f"{step.kind} {step.subject}" for step in woken))) for each, woken in found]


def dismiss(requester: Requester, release_id: str, why: str) -> Release:
    """Take a release that ended without being live off `status`. Repeating it is success; its history stays.

    Raises:
        NotFound: There is no such release.
        Conflict: It is in flight, or it is no failure.
    """
    with requester.state.write() as conn:
        release = releases.get(conn, release_id)
        if release.phase not in DISMISSIBLE:
            hint = f"`syncd cancel {release.id}` ends it" if release.phase not in RELEASE_ENDS else ""
            raise Conflict(f"{release.id} is {release.phase}: only a stalled or undone release is dismissed", hint=hint)
        if not events.has(conn, release.id, DISMISSED):
            said: dict[str, object] = {"who": requester.who, "why": why}
            now = requester.state.now(conn)
            events.append(conn, DISMISSED, now=now, release_id=release.id, subject=release.model, detail=said)
        return release


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


def check_known(world: World, model: ModelName, version: VersionName) -> None:
    """Raises NotFound where the registry can be read from here and has no such version: nothing is recorded then.

    A release waits for a version that is incomplete, and for a registry that is unreachable.
    """
    try:
        world.registries[world.topology.registry_of(model)].resolve(model, version)
    except NotFound as error:
        raise version_names.unknown_version(world, model, version) from error
    except Unavailable:
        return


def check_served(topology: Topology, model: str) -> None:
    """Raises NotFound where no binding serves the model."""
    if not topology.bindings_of(model):
        raise version_names.unknown_model(topology, model)


def put_on_hold(conn: Connection, model: ModelName, who: str, why: str, state: State) -> Hold:
    """The hold of the model: the one that it has, or a new one."""
    return holds.find(conn, model) or holds.put(conn, model, who, why, state.now(conn))
