"""World adoption: rebuilds what is live, placed and on hold from functions, seals and copies of holds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.artifact.manifest import MODELS_DIRECTORY, Manifest
from syncd.errors import Conflict, NotFound, SyncdError
from syncd.plan.binding import Binding, BoundModel, MountMode
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.reconcile.adoption import hold_copies
from syncd.reconcile.context import World
from syncd.reconcile.steps.carried_models import digest_of
from syncd.state.access import record_info
from syncd.state.content import placements, versions
from syncd.state.records import FunctionVersion, Release
from syncd.state.releases import events, holds, releases
from syncd.state.releases.events import advance
from syncd.state.serving import live
from syncd.values.function import Change, Mount, MountKind

log = structlog.get_logger("syncd.adoption")

# The description of a function version that a release published for an alias.
_PUBLISHED: Final = re.compile(r"syncd r-[0-9]+ (?P<alias>\S+)(?: .*)?")
_HISTORY_MAX: Final = 20  # older function versions of a binding that are read: one call each

_WAY: tuple[ReleasePhase, ...] = (
    ReleasePhase.PLACING,
    ReleasePhase.STAGING,
    ReleasePhase.FLIPPING,
    ReleasePhase.LIVE,
)


@dataclass
class Adopted:
    """What was taken into the record, a line each, and what could not be known."""

    live: list[str] = field(default_factory=list)
    placed: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)  # where a rollback goes
    held: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    is_whole: bool = True  # every place was asked

    def document(self) -> dict[str, object]:
        """As `-o json` shows it."""
        return {
            "live": self.live,
            "placed": self.placed,
            "before": self.before,
            "held": self.held,
            "unknown": self.unknown,
            "automatic_releases": self.is_whole,
        }


@dataclass(frozen=True)
class _Serving:
    """A binding as its alias points now: the version by model, and the change the function version carries."""

    binding: Binding
    function_version: str
    models: Mapping[str, Manifest]
    change: Change
    before: tuple[_Before, ...] = ()  # the newest first


@dataclass(frozen=True)
class _Before:
    """An older function version that a release of syncd published, and the sealed versions it carries."""

    function_version: str
    models: Mapping[str, Manifest]
    change: Change


def adopt_world(world: World, who: str) -> Adopted:
    """Read functions, aliases, seals and copies of holds, and record what they say. Nothing outside is changed.

    Repeating it is harmless. Automatic releases are switched on once every place was asked; until then they stay as
    they are.

    Raises:
        Conflict: A release is under way by this record.
        Unavailable: The record cannot be reached.
    """
    with world.state.read() as conn:
        under_way = releases.unfinished(conn)
    if under_way:
        raise Conflict(f"{under_way[0].id} is under way by this record", hint=f"run: syncd cancel {under_way[0].id}")
    adopted = Adopted()
    sealed = {name: list(_sealed(world, name, adopted)) for name in world.targets}
    copies, unread = hold_copies.read_all(world)
    _not_asked(adopted, unread)
    serving = [
        found for binding in world.topology.bindings.values() if (found := _read(world, binding, sealed, adopted))
    ]
    with world.state.write() as conn:
        now = world.state.now(conn)
        for change in copies.values():
            holds.adopt(conn, change, now)
        adopted.held = [
            f"{hold.model} since {hold.since:%Y-%m-%d %H:%M} by {hold.who}: {hold.why}" for hold in holds.all(conn)
        ]
        for target, manifests in sealed.items():
            for manifest in manifests:
                _place(conn, world, manifest, target, now, adopted)
        _record_live(conn, world, serving, who, adopted)
        if adopted.is_whole:
            record_info.switch_automatic_on(conn, who, now)
        elif not record_info.automatic_off(conn):
            record_info.switch_automatic_off(conn, adopted.unknown[0], now)
    log.info(
        "record.adopted_world",
        message="The record was rebuilt from functions and targets.",
        live=len(adopted.live),
        placed=len(adopted.placed),
        held=len(adopted.held),
        unknown=len(adopted.unknown),
    )
    return adopted


def _not_asked(adopted: Adopted, reasons: list[str]) -> None:
    if reasons:
        adopted.is_whole = False
        adopted.unknown += [reason for reason in reasons if reason not in adopted.unknown]


def _sealed(world: World, name: str, adopted: Adopted) -> Iterator[Manifest]:
    try:
        yield from world.targets[name].sealed()
    except SyncdError as error:
        _not_asked(adopted, [f"target {name} could not be asked: {error.message}"])


def _read(world: World, binding: Binding, sealed: Mapping[str, list[Manifest]], adopted: Adopted) -> _Serving | None:
    region = world.topology.regions[binding.runtime]
    where = f"{binding.function}:{binding.alias} in {region}"
    try:
        alias = world.runtimes[binding.runtime].read(binding.function, binding.alias)
        if alias.function_version is None:
            return None
        like = _like(binding)
        change = world.runtimes[binding.runtime].latest(binding.function, like, alias.function_version)
    except NotFound:
        return None
    except SyncdError as error:
        _not_asked(adopted, [f"{where} could not be asked: {error.message}"])
        return None
    if alias.weights:
        adopted.unknown.append(f"{where} sends shares elsewhere ({alias}): publish a version to end that")
    models: dict[str, Manifest] = {}
    for bound in binding.models:
        directory = _directory(world, bound, change)
        if directory is None:
            continue
        found = _sealed_in(sealed, bound, directory)
        if found is None:
            name = change.environment.get(bound.version_variable, "") if bound.version_variable else ""
            shown = f"{bound.model}@{name}" if name else f"{bound.model} from {directory or 'its image'}"
            adopted.unknown.append(
                f"{where} serves {shown}, which has no seal at {bound.target}: publish it to record it"
            )
        else:
            models[bound.model] = found
    if not models:
        return None
    serving = _Serving(binding, alias.function_version, models, change)
    return replace(serving, before=tuple(_history(world, serving, sealed, adopted)))


def _sealed_in(sealed: Mapping[str, list[Manifest]], bound: BoundModel, directory: str) -> Manifest | None:
    return next((each for each in sealed.get(bound.target, ()) if each.directory == directory), None)


def _history(
    world: World, serving: _Serving, sealed: Mapping[str, list[Manifest]], adopted: Adopted
) -> Iterator[_Before]:
    """Older function versions that releases published, the newest first, until each model has an earlier version."""
    binding, runtime = serving.binding, world.runtimes[serving.binding.runtime]
    wanted = set(serving.models)
    try:
        listed = runtime.descriptions(binding.function)
        older = [
            number
            for number, description in listed
            if (published := _PUBLISHED.fullmatch(description))
            and published["alias"] == binding.alias
            and int(number) < int(serving.function_version)
        ]
        for number in older[:_HISTORY_MAX]:
            change = runtime.latest(binding.function, _like(binding), number)
            carried: dict[str, Manifest] = {}
            for bound in binding.models:
                directory = _directory(world, bound, change)
                found = _sealed_in(sealed, bound, directory) if directory else None
                if found is not None:
                    carried[bound.model] = found
            if carried:
                yield _Before(number, carried, change)
            wanted -= {model for model, manifest in carried.items() if manifest != serving.models.get(model)}
            if not wanted:
                return
    except NotFound:  # deleted meanwhile: what was read counts
        return
    except SyncdError as error:
        where = f"{binding.function} in {world.topology.regions[binding.runtime]}"
        _not_asked(adopted, [f"the older versions of {where} could not be read: {error.message}"])


def _like(binding: Binding) -> Change:
    """Every mount directory and variable that the binding's models may use."""
    mounts = tuple(Mount(MountKind.OSS, "", "", each) for each in {b.mount_dir for b in binding.models if b.mount_dir})
    variables = {
        name: ""
        for bound in binding.models
        for name in (bound.digest_variable, bound.path_variable, bound.version_variable, bound.versions_variable)
        if name
    }
    return Change(mounts, variables)


def _directory(world: World, bound: BoundModel, change: Change) -> str | None:
    """Directory of the model in its target; "" where that cannot be known, None where the version has no such model."""
    if bound.mode is MountMode.VERSION:
        mount = next((each for each in change.mounts if each.mount_dir == bound.mount_dir), None)
        location = world.topology.places[bound.target]
        return None if mount is None else mount.path.removeprefix(f"{location.path}/").strip("/")
    if bound.mode is MountMode.IMAGE:
        return "" if change.environment.get(bound.digest_variable or "") else None
    path = change.environment.get(bound.path_variable, "") if bound.path_variable else ""
    if not path and bound.versions_variable:
        path = _path_in(change.environment.get(bound.versions_variable, ""), bound.model)
    return f"{MODELS_DIRECTORY}/{path.removeprefix(f'{bound.mount_dir}/')}" if path else None


def _path_in(variable: str, model: str) -> str:
    try:
        found = json.loads(variable)[model]["path"]
    except (ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _place(
    conn: Connection, world: World, manifest: Manifest, target: str, now: datetime, adopted: Adopted
) -> str | None:
    registry = world.topology.registry_name(manifest.model)
    if registry is None:
        adopted.unknown.append(f"{manifest} at {target}: no registry of the configuration has this model")
        return None
    known = versions.find(conn, manifest.model, manifest.version)
    if known is not None and known.digest != manifest.digest:
        adopted.unknown.append(
            f"{manifest} at {target} has digest {manifest.digest.short}, the record {known.digest.short}"
        )
        return None
    version = known or versions.record(conn, manifest, registry, "", now)
    placement = placements.ensure(conn, version.id, target, now)
    if placement.phase is not PlacementPhase.SEALED:
        if placement.phase is PlacementPhase.WITHDRAWING:
            return None
        if placement.phase is PlacementPhase.WITHDRAWN:
            placement = advance(conn, placement, PlacementPhase.WANTED, now=now)
        advance(conn, placement, PlacementPhase.SEALED, now=now, reason="sealed at the target; its files were not read")
        adopted.placed.append(f"{manifest} at {target}")
    return version.id


def _record_live(conn: Connection, world: World, serving: list[_Serving], who: str, adopted: Adopted) -> None:
    """One release for each version that something serves, most bindings last, so that a rollback has where to go."""
    now = world.state.now(conn)
    served = Counter((model, manifest.version) for each in serving for model, manifest in each.models.items())
    made: dict[tuple[str, str], Release] = {}
    _record_before(conn, serving, who, now, adopted)
    for model, version in sorted(served, key=lambda key: (served[key], key)):
        known = versions.find(conn, model, version)
        if known is None:
            continue
        newest = releases.latest(conn, model)
        is_same = newest is not None and newest.phase is ReleasePhase.LIVE and newest.version_id == known.id
        made[model, version] = (
            newest if is_same and newest else _adopted(conn, known.id, model, version, known.registry, who, now)
        )
    for each in serving:
        ids = {m: f.id for m, manifest in each.models.items() if (f := versions.find(conn, m, manifest.version))}
        if not ids:
            continue
        recorded = live.get(conn, each.binding.name)
        release = made[next(iter(ids)), each.models[next(iter(ids))].version]
        if recorded is None or (recorded.function_version, dict(recorded.models)) != (each.function_version, ids):
            live.record(conn, each.binding.name, each.function_version, ids, release.id, now)
            detail = {"function_version": each.function_version, "models": ids, "who": who}
            events.append(
                conn, "live.adopted", now=now, release_id=release.id, subject=each.binding.name, detail=detail
            )
        live.note_function_version(
            conn,
            FunctionVersion(each.binding.name, each.function_version, ids, digest_of(each.change), release.id, now),
        )
        shown = ", ".join(str(manifest) for manifest in each.models.values())
        adopted.live.append(f"{each.binding.function}:{each.binding.alias} → {each.function_version} serves {shown}")
    if made:
        adopted.unknown.append("who asked for what, and when: the earlier record had that")


def _record_before(conn: Connection, serving: list[_Serving], who: str, now: datetime, adopted: Adopted) -> None:
    """One release for the version of each model that most bindings carried before, so that a rollback has where to go.

    Only of a model without any release: a record that was restored from a copy knows better.
    """
    for model in sorted({model for each in serving for model in each.models}):
        if releases.latest(conn, model) is not None:
            continue
        served: set[str] = {each.models[model].version for each in serving if model in each.models}
        nearest = Counter(found for each in serving if (found := _version_before(each, model, served)))
        ordered = sorted(nearest, key=lambda version: (nearest[version], version))
        known = versions.find(conn, model, ordered[-1]) if ordered else None
        if known is None:
            adopted.unknown.append(f"what was live of {model} before: no older function version carries a sealed one")
            continue
        release = _adopted(conn, known.id, model, known.name, known.registry, who, now)
        adopted.before.append(f"{model}@{known.name}: syncd rollback {model} goes there")
        adopted.unknown.append(
            f"whether {model}@{known.name} was live everywhere: it is the newest that older function versions carry"
        )
        for each in serving:
            _note_before(conn, each, model, known.name, release, now)


def _version_before(serving: _Serving, model: str, served: set[str]) -> str | None:
    carried = (each.models[model].version for each in serving.before if model in each.models)
    return next((version for version in carried if version not in served), None)


def _note_before(
    conn: Connection, serving: _Serving, model: str, version: str, release: Release, now: datetime
) -> None:
    """Record the older function versions that carry the version: a rollback may use them, a retirement deletes them."""
    for age, each in enumerate(serving.before, start=1):
        if model not in each.models or each.models[model].version != version:
            continue
        ids = {m: found.id for m, made in each.models.items() if (found := versions.find(conn, m, made.version))}
        digest, at = digest_of(each.change), now - timedelta(seconds=age)
        number = each.function_version
        live.note_function_version(conn, FunctionVersion(serving.binding.name, number, ids, digest, release.id, at))


def _adopted(  # noqa: PLR0913, PLR0917 -- one argument a column of the new row
    conn: Connection, version_id: str, model: str, version: str, registry: str, who: str, now: datetime
) -> Release:
    release = releases.create(
        conn,
        model=model,
        ref=version,
        registry=registry,
        requested_by=f"adopt-world by {who}",
        version_id=version_id,
        now=now,
    )
    for phase in _WAY:
        release = advance(conn, release, phase, now=now, reason="adopted: it was live when the record was rebuilt")
    return release
