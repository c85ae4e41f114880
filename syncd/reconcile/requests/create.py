"""The only place where releases are created, and the guards that a request passes on the way into the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection

from syncd.errors import Conflict, Held
from syncd.plan.phases import ReleasePhase
from syncd.state.access import record_info
from syncd.state.content import versions
from syncd.state.records import Release
from syncd.state.releases import holds, releases
from syncd.state.serving import live


class RequestOrigin(StrEnum):
    """Who or what asks for a release."""

    PERSON = "person"
    PIPELINE = "pipeline"
    POLL = "poll"
    WEBHOOK = "webhook"
    BACKFILL = "backfill"
    BASE_IMAGE = "base image"
    RENEWED_KEY = "renewed key"  # again what stalled for a refused access key
    ROLLBACK = "rollback"


class Guard(StrEnum):
    """A fact of the record that may keep a release from being created."""

    HOLD = "hold"
    QUARANTINE = "quarantine"
    FREEZE = "freeze"
    UNDER_WAY = "already under way"
    OTHER_UNDER_WAY = "another version under way"
    OLDER = "older than live"
    AUTOMATIC_OFF = "automatic releases off"


class GuardEffect(StrEnum):
    """What a guard does to a request."""

    REFUSE = "refuse"  # nothing is recorded
    JOIN = "join"  # the release under way is the answer
    SUPERSEDE = "supersede"  # it is created, and ends the other release, if that has moved nothing
    WAIT = "wait"  # it is created, prepared, and waits before its first alias
    IGNORE = "ignore"  # it is created and goes on


_ASKED: Final = {
    Guard.HOLD: GuardEffect.REFUSE,
    Guard.QUARANTINE: GuardEffect.REFUSE,
    Guard.FREEZE: GuardEffect.WAIT,
    Guard.UNDER_WAY: GuardEffect.JOIN,
    Guard.OTHER_UNDER_WAY: GuardEffect.SUPERSEDE,
    Guard.OLDER: GuardEffect.IGNORE,
    Guard.AUTOMATIC_OFF: GuardEffect.IGNORE,
}
_FOUND: Final = _ASKED | dict.fromkeys((Guard.UNDER_WAY, Guard.OLDER, Guard.AUTOMATIC_OFF), GuardEffect.REFUSE)
_REPEATED: Final = _FOUND | {Guard.OTHER_UNDER_WAY: GuardEffect.REFUSE}

GUARDS: Final[Mapping[RequestOrigin, Mapping[Guard, GuardEffect]]] = MappingProxyType(
    {
        RequestOrigin.PERSON: _ASKED,
        RequestOrigin.PIPELINE: _ASKED,
        RequestOrigin.POLL: _FOUND,
        RequestOrigin.WEBHOOK: _FOUND,
        RequestOrigin.BACKFILL: _REPEATED,
        RequestOrigin.BASE_IMAGE: _REPEATED,
        RequestOrigin.RENEWED_KEY: _REPEATED | {Guard.OLDER: GuardEffect.IGNORE},
        RequestOrigin.ROLLBACK: {
            Guard.HOLD: GuardEffect.IGNORE,  # it put the hold itself
            Guard.QUARANTINE: GuardEffect.IGNORE,  # the source changed; what is sealed has the bytes that served before
            Guard.FREEZE: GuardEffect.IGNORE,
            Guard.UNDER_WAY: GuardEffect.IGNORE,
            Guard.OTHER_UNDER_WAY: GuardEffect.SUPERSEDE,
            Guard.OLDER: GuardEffect.IGNORE,
            Guard.AUTOMATIC_OFF: GuardEffect.IGNORE,
        },
    }
)
"""What each guard does to a request, by its origin. FREEZE and SUPERSEDE take effect in the controller."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A release that is asked for."""

    origin: RequestOrigin
    model: str
    ref: str
    registry: str
    requested_by: str
    version_id: str | None = None  # where it is known which bytes it is about
    ordered: Sequence[str] | None = None  # the refs of the source, oldest first; None: the ref was live before
    is_named: bool = False  # a person moved a name in the registry to this ref, also to an older one


def create(conn: Connection, intent: Intent, now: datetime) -> Release:
    """Create a release, or give the one under way where the origin's guards say so.

    Requests wait for one another until their transactions end, so that two at once see each other.

    Raises:
        Held: The model is on hold.
        Conflict: Another guard refuses it; the message names the guard.
    """
    releases.lock_creation(conn)
    actions = GUARDS[intent.origin]
    for guard, check in _CHECKS.items():
        action = actions[guard]
        if action is GuardEffect.REFUSE:
            refusal = check(conn, intent)
            if refusal is not None:
                raise refusal
        elif action is GuardEffect.JOIN and (release := same_under_way(conn, intent)) is not None:
            return release
    return releases.create(
        conn,
        model=intent.model,
        ref=intent.ref,
        registry=intent.registry,
        requested_by=intent.requested_by,
        rollback=intent.origin is RequestOrigin.ROLLBACK,
        version_id=intent.version_id,
        now=now,
    )


def check_not_held(conn: Connection, model: str) -> None:
    """Raises Held where the model is on hold."""
    refusal = _held(conn, model)
    if refusal is not None:
        raise refusal


def same_under_way(conn: Connection, intent: Intent) -> Release | None:
    """The unfinished release that brings the same version forward."""
    for release in releases.unfinished(conn, intent.model):
        if release.ref == intent.ref and not release.rollback and release.phase is not ReleasePhase.UNDOING:
            return release
    return None


def _held(conn: Connection, model: str) -> Conflict | None:
    held = holds.find(conn, model)
    if held is None:
        return None
    return Held(
        f"{model} is on hold since {held.since:%Y-%m-%d %H:%M} by {held.who}: {held.why}",
        hint=f"`syncd unhold {model}` lifts it",
    )


def _quarantined(conn: Connection, intent: Intent) -> Conflict | None:
    known = versions.find(conn, intent.model, intent.ref)
    if known is None or not known.quarantined or versions.is_replaceable(conn, known):
        return None
    return Conflict(
        f"{intent.model}@{intent.ref} is quarantined: {known.quarantined}",
        hint="publish the new bytes as a new version; `syncd unquarantine` if they are the old ones again",
    )


def _under_way(conn: Connection, intent: Intent) -> Conflict | None:
    release = same_under_way(conn, intent)
    return None if release is None else Conflict(f"{release.id} brings {intent.model}@{intent.ref} already")


def _other_under_way(conn: Connection, intent: Intent) -> Conflict | None:
    unfinished = releases.unfinished(conn, intent.model)
    return Conflict(f"{unfinished[-1].id} of {intent.model} is under way") if unfinished else None


def _older(conn: Connection, intent: Intent) -> Conflict | None:
    refs = live.refs(conn, intent.model)
    if intent.ordered is None:
        older = bool(refs) and intent.ref not in refs
    else:
        order = {ref: place for place, ref in enumerate(intent.ordered)}
        newest = max((order[ref] for ref in refs if ref in order), default=-1)
        older = not intent.is_named and order.get(intent.ref, newest) < newest
    if not older:
        return None
    return Conflict(
        f"{intent.model}@{intent.ref} is older than what is live: {', '.join(refs)}",
        hint=f"`syncd publish {intent.model}@{intent.ref}` releases it all the same",
    )


def _automatic_off(conn: Connection, _intent: Intent) -> Conflict | None:
    reason = record_info.automatic_off(conn)
    return Conflict(f"automatic releases are off: {reason}", hint=record_info.ADOPT_HINT) if reason else None


_CHECKS: Final[Mapping[Guard, Callable[[Connection, Intent], Conflict | None]]] = {
    Guard.HOLD: lambda conn, intent: _held(conn, intent.model),
    Guard.QUARANTINE: _quarantined,
    Guard.UNDER_WAY: _under_way,
    Guard.OTHER_UNDER_WAY: _other_under_way,
    Guard.OLDER: _older,
    Guard.AUTOMATIC_OFF: _automatic_off,
}
