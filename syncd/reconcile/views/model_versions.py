"""The versions of a model: what its registry lists and what the record has, with where each is sealed and live."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection

from syncd.artifact.names import ModelName, VersionName
from syncd.errors import SyncdError
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import World
from syncd.reconcile.requests.operations import check_served
from syncd.reconcile.views.shapes.overview import ModelVersionDocument, ModelVersionsDocument
from syncd.registry.base import Registry
from syncd.state.content import placements, versions
from syncd.state.records import Version
from syncd.state.serving import live

SIZED_MAX: Final = 20  # versions that were never released and whose files are listed for their size


def model_versions(world: World, model: ModelName) -> dict[str, Any]:
    """Versions as JSON, newest first: those of the registry, then those that only the record has.

    A registry that does not answer is a reason in `unreached`; the record is shown all the same.

    Raises:
        NotFound: No binding serves the model.
    """
    check_served(world.topology, model)
    registry = world.topology.registry_of(model)
    listed, reason = _listed(world.registries[registry], model)
    with world.state.read() as conn:
        recorded = {each.name: each for each in versions.known(conn, model)}
        names = [*listed, *(name for name in reversed(recorded) if name not in set(listed))]
        rows = [_row(conn, world, model, name, recorded.get(name)) | {"in_registry": name in listed} for name in names]
    for row in [row for row in rows if row["size_bytes"] is None][:SIZED_MAX]:
        row["size_bytes"] = _size(world.registries[registry], model, VersionName(row["version"]))
    shown = [ModelVersionDocument(**row) for row in rows]
    return ModelVersionsDocument(model=model, registry=registry, unreached=reason, versions=shown).as_json()


def _listed(registry: Registry, model: ModelName) -> tuple[list[VersionName], str | None]:
    try:
        found = [each.version for each in registry.discover(model)]
    except SyncdError as error:
        return [], error.message
    return list(dict.fromkeys(reversed(found))), None


def _row(conn: Connection, world: World, model: ModelName, name: str, recorded: Version | None) -> dict[str, Any]:
    row: dict[str, Any] = {"version": name, "digest": None, "size_bytes": None, "recorded_at": None}
    targets = world.topology.targets_of(model)
    row |= {"sealed": [], "targets": list(targets), "live": [], "quarantined": None}
    if recorded is None:
        return row
    sealed = [p.target for p in placements.of_version(conn, recorded.id) if p.phase is PlacementPhase.SEALED]
    serving = [
        binding.name
        for binding in world.topology.bindings_of(model)
        if (found := live.get(conn, binding.name)) is not None and found.models.get(model) == recorded.id
    ]
    row |= {"digest": recorded.digest.hex, "size_bytes": recorded.size_bytes, "recorded_at": recorded.created_at}
    return row | {"sealed": sealed, "live": serving, "quarantined": recorded.quarantined or None}


def _size(registry: Registry, model: ModelName, version: VersionName) -> int | None:
    """The bytes of a version that was never released; None where its files cannot be listed now."""
    try:
        return sum(file.size_bytes for file in registry.listing(model, registry.resolve(model, version)))
    except SyncdError:
        return None
