"""Registry poll: compares published versions and requests releases of new ones. A webhook only makes it run sooner."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.artifact.names import ModelName, VersionName
from syncd.errors import Conflict, Corrupt, NotFound, SyncdError, Unavailable
from syncd.plan.autorelease import pick
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.catalog import survey
from syncd.reconcile.discovery.refused_pins import fixed_refs, refused_version
from syncd.reconcile.requests.create import Intent, RequestOrigin, create
from syncd.registry.base import Registry
from syncd.registry.rules.file_filters import as_published
from syncd.state.content import versions
from syncd.state.records import Release, Version
from syncd.state.releases import releases
from syncd.state.serving import live
from syncd.values.source import Candidate, Follow, Revision

HIDDEN_MAX: Final = 10  # recorded versions that the listing lacks: most are deleted, and each check is a request

log = structlog.get_logger("syncd.watch")


def poll_model(  # noqa: PLR0913 -- the poll, and what its caller knows already
    context: Context,
    registry_name: str,
    model: ModelName,
    refs: Collection[str] = (),
    *,
    auto_release: bool,
    origin: RequestOrigin = RequestOrigin.POLL,
    known: Sequence[Version] | None = None,
) -> list[Release]:
    """Poll one model. Returns the releases that it requested; a second poll right after requests none.

    A published version whose bytes have changed at the source is quarantined, reported, and never followed. One that
    was refused before it was sealed anywhere, and has other bytes now, is requested again. `refs` limits the
    comparison to the versions of these names; empty: all recorded versions. `known` are the recorded versions, where
    the caller has read them.

    Raises:
        Unavailable, Refused: The registry could not be read; the next poll repeats it.
    """
    registry = context.registries[registry_name]
    candidates = list(registry.discover(model))
    if known is None:
        with context.state.read() as conn:
            known = versions.known(conn, model)
    _same_bytes(context, registry, model, candidates, [v for v in known if not refs or v.name in refs])
    return _request_newest(context, registry_name, candidates, origin) if auto_release else []


def served_from(context: Context, registry_name: str) -> list[ModelName]:
    """The models that a binding serves and that this registry provides."""
    return [ModelName(model) for model in context.topology.models_from(registry_name)]


def _request_newest(
    context: Context, registry_name: str, candidates: list[Candidate], origin: RequestOrigin
) -> list[Release]:
    if not candidates:
        return []
    model, requester = candidates[0].model, f"watch {registry_name}"
    with context.state.read() as conn:  # most polls find nothing new, and then need not wait for a writer
        is_new = _chosen(conn, candidates, requester) is not None
        refused = None if is_new else refused_version(conn, registry_name, candidates)
    fixed = fixed_refs(context, refused)
    if not is_new and not fixed:
        return []
    ordered = [candidate.version for candidate in candidates]
    ordered += _incomplete(context, registry_name, model, ordered)
    try:
        with context.state.write() as conn:
            chosen = _chosen(conn, candidates, requester, fixed)
            if chosen is None:
                return []
            is_named = chosen.follow is Follow.WHEN_NAMED
            intent = Intent(origin, model, chosen.version, registry_name, requester, ordered=ordered, is_named=is_named)
            release = create(conn, intent, context.state.now(conn))
    except Conflict as refused:
        log.debug(
            "poll.refused",
            message="The newest version in the registry is not released automatically.",
            model=model,
            registry=registry_name,
            reason=refused.message,
        )
        return []
    log.info(
        "release.requested",
        message="A poll found a new version and requested a release.",
        model=model,
        version=chosen.version,
        release=release.id,
        registry=registry_name,
        origin=origin.value,
    )
    context.wake.set()
    return [release]


def _chosen(
    conn: Connection, candidates: list[Candidate], requester: str, fixed: frozenset[str] = frozenset()
) -> Candidate | None:
    """The candidate to release now, if there is one. Those that are `fixed` count as not released yet."""
    model = candidates[0].model
    newest = releases.latest(conn, model), releases.latest(conn, model, requester)
    return pick(candidates, releases.refs(conn, model) - fixed, {found.ref for found in newest if found} - fixed)


def _incomplete(
    context: Context, registry_name: str, model: ModelName, shown: Collection[VersionName]
) -> list[VersionName]:
    """The live refs that the registry does not list because they are being rewritten.

    They stay the newest: older versions are not released while they are incomplete.
    """
    with context.state.read() as conn:
        hidden = [VersionName(ref) for ref in live.refs(conn, model) if ref not in shown]
    found = []
    for ref in hidden:
        try:
            context.registries[registry_name].resolve(model, ref)
        except Unavailable:
            found.append(ref)
        except SyncdError:  # deleted, or of another registry: its position in the order is unknown
            continue
    return found


def _same_bytes(
    context: Context, registry: Registry, model: ModelName, candidates: list[Candidate], recorded: Sequence[Version]
) -> None:
    """Compare the pin of each recorded version; if it differs, the digest; if that differs, quarantine the version.

    A recorded version may be deleted at the source: that is no change. An
    incomplete one is being deleted or rewritten: that is logged, and the version is compared once it is complete.
    """
    shown = {candidate.version for candidate in candidates}
    known = [version for version in recorded if not version.quarantined]
    if len(known) < len(recorded):
        with context.state.read() as conn:
            known = [each for each in recorded if not each.quarantined or versions.is_replaceable(conn, each)]
    hidden = [version for version in known if version.name not in shown][-HIDDEN_MAX:]
    for version in [*(version for version in known if version.name in shown), *hidden]:
        try:
            _compare(context, registry, model, version)
        except Corrupt as changed:
            log.error("version.quarantined", message="A published version has changed.", model=version.model,  # noqa: TRY400
                      version=version.name, error=changed.message)  # fmt: skip
        except SyncdError as unreadable:  # an unreadable version must not hide the others, nor a new one
            log.warning("version.not_compared", message="A version could not be compared with its source.",
                        model=version.model, version=version.name, error=unreadable.message)  # fmt: skip


def _compare(context: Context, registry: Registry, model: ModelName, version: Version) -> None:
    name = VersionName(version.name)
    try:
        now = as_published(registry.resolve(model, name), version.pin)
    except NotFound:
        return  # deleted, once it was distributed
    except Unavailable:
        registry.listing(model, Revision(name, version.pin))  # raises Corrupt if it is no longer what was pinned
        return
    if now.pin == version.pin and not version.quarantined:
        return
    manifest = survey(
        registry, model, now, threading.Event(), is_accepted=True
    ).manifest  # bytes are compared, not checked
    with context.state.write() as conn:
        recorded = versions.record(conn, manifest, version.registry, now.pin, context.state.now(conn))
        if recorded.id == version.id:
            versions.repin(conn, version, now.pin)  # the same bytes, rewritten
