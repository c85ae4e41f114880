"""Look at a registry and wish for what is new. A hint from outside only makes this happen sooner."""

from __future__ import annotations

import threading
from itertools import groupby

import structlog

from syncd.errors import Corrupt, SyncdError
from syncd.plan.desired import wish
from syncd.reconcile.catalog import catalog
from syncd.reconcile.rooms import Rooms
from syncd.registry.base import Candidate, Registry
from syncd.registry.taking import as_published
from syncd.state import holds, releases, versions
from syncd.state.records import Release, Version

log = structlog.get_logger("syncd.watch")


def look(rooms: Rooms, registry_name: str, *, auto_release: bool) -> list[Release]:
    """One look at one registry. Returns the releases it wished for; looking again right after wishes for none.

    A published version whose bytes have changed at the source is quarantined, reported, and never followed.

    Raises:
        Unavailable, Refused: The registry could not be read; the next look is as good.
    """
    registry = rooms.registries[registry_name]
    asked: list[Release] = []
    for model, group in groupby(registry.discover(), key=lambda candidate: candidate.model):
        candidates = list(group)
        if not rooms.fleet.bindings_of(model) or rooms.fleet.registry_of(model) != registry_name:
            continue
        _same_bytes(rooms, registry, candidates)
        if auto_release:
            asked += _wish(rooms, registry_name, candidates)
    if asked:
        rooms.wake.set()
    return asked


def _wish(rooms: Rooms, registry_name: str, candidates: list[Candidate]) -> list[Release]:
    model, us = candidates[0].model, f"watch {registry_name}"
    with rooms.state.write() as conn:
        released = releases.refs(conn, model)
        last = {found.ref for found in (releases.latest(conn, model), releases.latest(conn, model, us)) if found}
        chosen = wish(candidates, released, last, held=holds.find(conn, model) is not None)
        if chosen is None:
            return []
        release = releases.create(
            conn,
            model=model,
            ref=chosen.version,
            registry=registry_name,
            requested_by=us,
            rollback=False,
            version_id=None,
            now=rooms.state.now(conn),
        )
    log.info("new version", model=model, version=chosen.version, release=release.id, registry=registry_name)
    return [release]


def _same_bytes(rooms: Rooms, registry: Registry, candidates: list[Candidate]) -> None:
    """Compare each known version's pin; where it differs, its digest; where that differs, quarantine it."""
    with rooms.state.read() as conn:
        known = {version.name: version for version in versions.known(conn, candidates[0].model)}
    for candidate in candidates:
        version = known.get(candidate.version)
        if version is None or version.quarantined:
            continue
        try:
            _compare(rooms, registry, candidate, version)
        except Corrupt as changed:
            log.error("version quarantined", model=version.model, version=version.name, error=changed.message)  # noqa: TRY400 -- expected, and told whole
        except SyncdError as unreadable:  # one that cannot be looked at must not hide the others, nor a new version
            log.warning("version not compared", model=version.model, version=version.name, error=unreadable.message)


def _compare(rooms: Rooms, registry: Registry, candidate: Candidate, version: Version) -> None:
    now = as_published(registry.resolve(candidate.model, candidate.version), version.pin)
    if now.pin == version.pin:
        return
    manifest = catalog(registry, candidate.model, now, threading.Event())
    with rooms.state.write() as conn:
        versions.record(conn, manifest, version.registry, now.pin, rooms.state.now(conn))
        versions.repin(conn, version, now.pin)  # the same bytes, newly written
