"""Base image watch: resolves the tags of base images, records changes, and by policy rebuilds what is live.

A check only records what it saw, in one transaction with its event. Whether a release is due follows from the record
alone, so a crash between the two neither loses nor duplicates a release.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

import structlog
from sqlalchemy import Connection

from syncd.errors import Conflict, SyncdError
from syncd.oci.images import BaseImage
from syncd.plan.topology import BasePolicy, Topology
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.base_image_updates import BaseImageUpdate, served, updates
from syncd.reconcile.requests.create import Intent, RequestOrigin, create
from syncd.state.content import base_images
from syncd.state.records import Release, ReleaseBase, Version
from syncd.state.releases import events

log = structlog.get_logger("syncd.bases")


def check(context: Context, target: str) -> None:
    """Resolve the base image of a target now, and record it. Repeating it is harmless.

    If it has changed, the bases of the other targets of the same models are resolved too: regions get their new bases
    at about the same time, and one release can bring all of them.

    Raises:
        NotFound: The base's tag no longer exists.
        Unavailable, Refused, Invalid, Corrupt: It could not be resolved, or cannot be built upon. That is recorded.
    """
    found = {target: _found(context, target)}
    if _is_new(context, found[target], target):
        for other in _beside(context.topology, target):
            with suppress(SyncdError):
                found[other] = _found(context, other)
    with context.state.write() as conn:
        now = context.state.now(conn)
        changed = [each for name, base in found.items() for each in _record(conn, context.topology, name, base, now)]
    for version, new in changed:
        log.warning("base.changed", message="The base image under a live version has changed.", target=new.target,
                    base=new.base, model=version.model, version=version.name, got=new.now.hex, want=new.was.hex,
                    region=context.topology.regions[new.target])  # fmt: skip


def _found(context: Context, target: str) -> BaseImage:
    try:
        return context.images[target].base()
    except SyncdError as error:
        with context.state.write() as conn:
            name = str(context.images[target].settings.base)
            base_images.record_missed(conn, target, name, error.message, context.state.now(conn))
        raise


def _is_new(context: Context, base: BaseImage, target: str) -> bool:
    with context.state.read() as conn:
        known = base_images.seen(conn, target)
    return known is None or (known.base, known.digest) != (base.name, base.digest)


def _beside(topology: Topology, target: str) -> list[str]:
    mine = [set(topology.targets_of(model)) for model in topology.models()]
    return [other for other in topology.watched if other != target and any({other, target} <= each for each in mine)]


def _record(
    conn: Connection, topology: Topology, target: str, base: BaseImage, now: datetime
) -> list[tuple[Version, BaseImageUpdate]]:
    """Record a check. An affected live version is reported once for each new base."""
    if not base_images.record_seen(conn, target, base.name, base.digest, now):
        return []
    changed = []
    for model in topology.models():
        version = served(conn, topology, model)
        new = updates(conn, version.id, target) if version and target in topology.targets_of(model) else None
        if version is not None and new is not None:
            detail = {"model": model, "version": version.id, "base": new.base, "from": new.was.hex, "to": new.now.hex}
            events.append(conn, "base.changed", now=now, subject=target, detail=detail)
            changed.append((version, new))
    return changed


def rebuild(context: Context) -> list[Release]:
    """Start a release of the live version for each model that has a new base, if the policy says so.

    It waits until the model has no release in flight and no hold. Each new base gets one release: a failed one is not
    repeated. A base that was there when the model was rolled back gets none.
    """
    begun = []
    for model in context.topology.models():
        with context.state.read() as conn:
            is_due = bool(_due(conn, context.topology, model))
        if is_due:
            with suppress(Conflict):  # on hold, quarantined or in flight: repeated at the next pass
                begun += _begun(context, model)
    if begun:
        context.wake.set()
    return begun


def _due(conn: Connection, topology: Topology, model: str) -> list[BaseImageUpdate]:
    """The new bases that the live version of a model is to be rebuilt over now."""
    mine = [
        t
        for t in topology.targets_of(model)
        if t in topology.watched and topology.watched[t].policy is BasePolicy.REBUILD
    ]
    version = served(conn, topology, model) if mine else None
    return [] if version is None else list(_new_to(conn, version, mine))


def _new_to(conn: Connection, version: Version, targets: list[str]) -> Iterator[BaseImageUpdate]:
    for target in targets:
        new, seen = updates(conn, version.id, target), base_images.seen(conn, target)
        if new is not None and seen is not None and not base_images.is_settled(conn, version, seen):
            yield new


def _begun(context: Context, model: str) -> list[Release]:
    with context.state.write() as conn:
        version, due = served(conn, context.topology, model), _due(conn, context.topology, model)
        if version is None or not due:
            return []
        now = context.state.now(conn)
        requester = f"syncd, for the new base of {', '.join(new.target for new in due)}"
        intent = Intent(RequestOrigin.BASE_IMAGE, model, version.name, version.registry, requester, version.id)
        release = create(conn, intent, now)
        for new in due:
            base_images.note(conn, ReleaseBase(release.id, version.id, new.target, new.base, new.now, new.was))
            detail = {"base": new.base, "from": new.was.hex, "to": new.now.hex, "since": new.since.isoformat()}
            events.append(conn, "release.rebuilds", now=now, release_id=release.id, subject=new.target, detail=detail)
    log.info("base.rebuild_requested", message="A release rebuilds the live version over a new base image.",
             release=release.id, model=model, version=version.name,
             targets={new.target: str(new) for new in due})  # fmt: skip
    return [release]
