"""Versions that a release refused and that have other bytes in the registry now: a poll requests them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from syncd.artifact.names import parse_model
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, SyncdError
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.context import Context
from syncd.registry.rules.file_filters import as_published
from syncd.state.content import versions
from syncd.state.records import Release, Version
from syncd.state.releases import events, releases
from syncd.values.source import Candidate, Follow

REFUSED_PIN: Final = "refused_pin"  # in the detail of the event of a step that stalled: what the registry showed


def refused_pin(error: SyncdError, pin: str) -> dict[str, object]:
    """The detail of a stalled step that reads the registry: the pin that was refused, "" where none was made.

    An outage, and a refused access, say nothing about the bytes: no detail.
    """
    if not isinstance(error, (Conflict, Corrupt, Invalid, NotFound)):
        return {}
    return {REFUSED_PIN: pin}


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """A release that stalled over the bytes of a version, their pin, and what the record has under the name."""

    release: Release
    pin: str
    known: Version | None


def refused_version(conn: Connection, registry_name: str, candidates: Sequence[Candidate]) -> RefusedVersion | None:
    """The newest followed version, if its last release stalled over its bytes, before any of it was sealed or moved."""
    followed = [candidate for candidate in candidates if candidate.follow is not Follow.NOT]
    last = releases.latest_of_ref(conn, followed[-1].model, followed[-1].version) if followed else None
    if last is None or last.phase is not ReleasePhase.STALLED or last.rollback or last.registry != registry_name:
        return None
    known = versions.find(conn, last.model, last.ref)
    pin = _refused(conn, last)
    if pin is None or (known is not None and not versions.is_replaceable(conn, known)):
        return None
    return RefusedVersion(last, pin, known)


def fixed_refs(context: Context, refused: RefusedVersion | None) -> frozenset[str]:
    """The ref of a refused version that the registry shows with another pin now."""
    if refused is None or _shown(context, refused.release, refused.known) in {None, refused.pin}:
        return frozenset()
    return frozenset({refused.release.ref})


def _refused(conn: Connection, release: Release) -> str | None:
    """The pin that a stalled release refused; None if that is not why it stalled."""
    for event in reversed(events.of_release(conn, release.id)):
        if REFUSED_PIN in event.detail:
            return str(event.detail[REFUSED_PIN])
    return versions.get(conn, release.version_id).pin if release.version_id else None


def _shown(context: Context, release: Release, known: Version | None) -> str | None:
    try:
        revision = context.registries[release.registry].resolve(parse_model(release.model), release.ref)
    except SyncdError:  # still refused, or not to be read now: the next poll asks again
        return None
    return as_published(revision, known.pin if known else None).pin
