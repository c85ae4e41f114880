"""Needs of the versions of a model: by the record, and by the aliases and function versions of the cloud."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from syncd.errors import NotFound, SyncdError
from syncd.plan.binding import Binding, MountMode, names_of
from syncd.plan.phases import PlacementPhase
from syncd.plan.retention import RetentionFacts, StoredVersion
from syncd.reconcile.context import World
from syncd.reconcile.steps.carried_models import carries, marks_of
from syncd.state.content import placements, repairs, versions
from syncd.state.records import Version
from syncd.state.releases import freezes, holds, leases, releases, removals
from syncd.state.serving import flips, live
from syncd.values.function import Change

_RELEASES_MAX: Final = 1_000_000  # of one model: all of them


@dataclass(frozen=True, slots=True)
class CloudFacts:
    """What leads to versions of a model in the cloud, by where. `unknown`: what could not be read, and why."""

    reached: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def stored(conn: Connection, model: str) -> list[StoredVersion]:
    """The versions of a model that are sealed somewhere, in the order of recording."""
    known = versions.known(conn, model)
    placed = placements.of_versions(conn, [each.id for each in known])
    sizes: dict[str, dict[str, int]] = {}
    for each in placed:
        if each.phase is PlacementPhase.SEALED:
            sizes.setdefault(each.version_id, {})[each.target] = 0
    used = {each.id: each.created_at for each in known}
    refs: dict[str, set[str]] = {}
    for release in releases.recent(conn, _RELEASES_MAX, model):
        if release.version_id in used:
            used[release.version_id] = max(used[release.version_id], release.updated_at)
            refs.setdefault(release.version_id, set()).add(release.ref)
    return [
        StoredVersion(
            each.id,
            each.name,
            frozenset(refs.get(each.id, ())),
            used[each.id],
            dict.fromkeys(sizes[each.id], each.size_bytes),
        )
        for each in known
        if each.id in sizes
    ]


def facts(world: World, conn: Connection, model: str, cloud: CloudFacts) -> RetentionFacts:
    """What needs versions of a model: by the record in this transaction, and by the cloud as it was read."""
    now = world.state.now(conn)
    known = versions.known(conn, model)
    before = live.previous_release(conn, model)
    spared: dict[str, set[str]] = {}
    for each in removals.all(conn):
        if each.spared_by:
            spared.setdefault(each.spared_by, set()).add(each.version_id)
    return RetentionFacts(
        served={each.binding: frozenset(each.models.values()) for each in live.all(conn)},
        reached=cloud.reached,
        releases=_under_way(conn, model),
        rollback={before.id: frozenset({before.version_id})} if before and before.version_id else {},
        repairs=frozenset(
            each.version_id for each in repairs.of_versions(conn, [v.id for v in known]) if each.done_at is None
        ),
        quarantined=frozenset(each.id for each in known if each.quarantined),
        spared={who: frozenset(ids) for who, ids in spared.items()},
        leases={each.name: frozenset({each.version_id}) for each in leases.all(conn, now)},
        blocked=(*_blocked(world, conn, model), *cloud.unknown),
    )


def _under_way(conn: Connection, model: str) -> dict[str, frozenset[str]]:
    """Unfinished releases with their own version, and those that their flips serve or may go back to."""
    named = {each.name: each.id for each in versions.known(conn, model)}
    found: dict[str, set[str]] = {}
    for release in releases.unfinished(conn):
        mine = {release.version_id} if release.version_id else set()
        if release.model == model and release.ref in named:
            mine.add(named[release.ref])
        found[release.id] = mine
    for flip in flips.unfinished(conn):
        found.setdefault(flip.release_id, set()).update(flip.served.values(), flip.serves.values())
    return {release: frozenset(ids) for release, ids in found.items()}


def _blocked(world: World, conn: Connection, model: str) -> tuple[str, ...]:
    held = holds.find(conn, model)
    now = world.state.now(conn)
    told = [f"{model} is on hold by {held.who}: {held.why}"] if held else []
    told += [
        f"{'every model' if each.model == freezes.ALL_MODELS else model} is frozen by {each.who}: {each.why}"
        for each in freezes.of(conn, model, now)
    ]
    return tuple(told)


def read_cloud(world: World, model: str, *, strangers: bool = False) -> CloudFacts:
    """Read the aliases of every binding of a model: where callers are sent, wholly or by a share.

    The candidate alias is none of them: a release that uses it is under way, and otherwise it was left behind.
    `strangers`: read published function versions that syncd did not stage, too.
    """
    reached: dict[str, frozenset[str]] = {}
    unknown: list[str] = []
    for binding in world.topology.bindings_of(model):
        region = world.topology.regions[binding.runtime]
        try:
            reached |= _reached(world, binding, model, region, strangers=strangers)
        except NotFound:  # the function is gone, and its aliases with it
            continue
        except SyncdError as error:
            unknown.append(f"{binding.function} in {region} could not be read: {error.message}")
    return CloudFacts(reached, tuple(unknown))


def _reached(world: World, binding: Binding, model: str, region: str, *, strangers: bool) -> dict[str, frozenset[str]]:
    runtime = world.runtimes[binding.runtime]
    with world.state.read() as conn:
        mine = versions.known(conn, model)
        recorded = {
            each.function_version: frozenset(each.models.values())
            for name in world.topology.bindings_at(binding)
            for each in live.function_versions(conn, name)
        }
        known = [(each, marks_of(conn, each)) for each in mine]
    found: dict[str, frozenset[str]] = {}
    aliases = [binding.alias, *([binding.warmth.previous] if binding.warmth and binding.warmth.previous else [])]
    for alias in aliases:
        pointed = runtime.read(binding.function, alias)
        ids: frozenset[str] = frozenset()
        for number in {pointed.function_version, *pointed.weights} - {None}:
            ids |= recorded[number] if number in recorded else _carried(world, binding, model, str(number), known)
        found[f"{binding.function}:{alias} in {region}"] = ids
    if strangers:
        for number, _ in runtime.descriptions(binding.function):
            if number not in recorded:
                carried = _carried(world, binding, model, number, known)
                found[f"{binding.function}:{number} in {region}, which syncd did not stage,"] = carried
    return found


def _carried(
    world: World, binding: Binding, model: str, number: str, known: Collection[tuple[Version, frozenset[str]]]
) -> frozenset[str]:
    """The versions of a model that a function version carries which the record does not know."""
    try:
        found = world.runtimes[binding.runtime].latest(binding.function, _like(binding, model), number)
    except NotFound:
        return frozenset()
    return frozenset(version.id for version, marks in known if carries(found, marks))


def _like(binding: Binding, model: str) -> Change:
    """The names of the parts of a function that have the model: directories, variables, the image."""
    is_image = any(each.mode is MountMode.IMAGE for each in binding.models if each.model == model)
    return Change((), {}, "any" if is_image else "", names_of(binding, {model}))
