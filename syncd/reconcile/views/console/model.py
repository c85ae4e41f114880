"""The pages of a model and of a binding."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from sqlalchemy import Connection

from syncd.artifact.names import ModelName
from syncd.errors import NotFound
from syncd.plan.phases import PlacementPhase
from syncd.plan.topology import Topology
from syncd.reconcile.requests.operations import check_served
from syncd.reconcile.views.console.shapes import (
    BindingPageDocument,
    FunctionVersionDocument,
    ModelPageDocument,
    RecordedVersionDocument,
    RegionBytesDocument,
)
from syncd.reconcile.views.overview import drifted_of, live_of
from syncd.reconcile.views.release import release_list
from syncd.reconcile.views.serving import ServingSnapshot
from syncd.reconcile.views.shapes.overview import ClosedDriftDocument
from syncd.reconcile.views.shapes.releases import ReleasesDocument
from syncd.reconcile.views.shapes.serving import FreezeDocument, HoldDocument
from syncd.state.content import placements, versions
from syncd.state.releases import freezes, holds, releases
from syncd.state.serving import drifts, live
from syncd.state.state import State

VERSIONS_MAX: Final = 100
RELEASES_MAX: Final = 20
ENDED_MAX: Final = 20


def model_page(state: State, topology: Topology, model: ModelName) -> ModelPageDocument:
    """A model by the record; asks no registry. Raises NotFound: no binding serves it."""
    check_served(topology, model)
    with state.read() as conn:
        serving = ServingSnapshot.read(conn, topology, [model])
        held, found = holds.find(conn, model), releases.recent(conn, RELEASES_MAX, model)
        sealed = placements.sealed_bytes(conn, model)
        return ModelPageDocument(
            model=model,
            registry=topology.registry_name(model) or "",
            held=HoldDocument.model_validate(held) if held else None,
            frozen=[FreezeDocument.model_validate(each) for each in freezes.of(conn, model, state.now(conn))],
            live=live_of(serving, topology, model),
            versions=_versions(conn, topology, serving, model),
            sealed=[
                RegionBytesDocument(region=topology.regions.get(target, ""), target=target, size_bytes=size)
                for target, size in sorted(sealed.items())
            ],
            releases=ReleasesDocument.model_validate(release_list(found)).releases,
        )


def _versions(
    conn: Connection, topology: Topology, serving: ServingSnapshot, model: str
) -> list[RecordedVersionDocument]:
    known = list(reversed(versions.known(conn, model)))[:VERSIONS_MAX]
    sealed: dict[str, list[str]] = defaultdict(list)
    for placed in placements.of_versions(conn, [each.id for each in known]):
        if placed.phase is PlacementPhase.SEALED:
            sealed[placed.version_id].append(placed.target)
    serves: dict[str, list[str]] = defaultdict(list)
    for binding in topology.bindings_of(model):
        version = serving.version_of(binding.name, model)
        if version is not None:
            serves[version.id].append(binding.name)
    return [
        RecordedVersionDocument(
            version=each.name,
            digest=each.digest.hex,
            size_bytes=each.size_bytes,
            recorded_at=each.created_at,
            quarantined=each.quarantined or "",
            sealed=sealed[each.id],
            live=serves[each.id],
        )
        for each in known
    ]


def binding_page(state: State, topology: Topology, name: str) -> BindingPageDocument:
    """A binding by the record; contacts no region. Raises NotFound: it is not configured."""
    binding = topology.bindings.get(name)
    if binding is None:
        raise NotFound(f"there is no binding {name[:80]!r}", hint="`syncd status` lists them")
    models = [bound.model for bound in binding.models]
    with state.read() as conn:
        serving = ServingSnapshot.read(conn, topology, models)
        scan = drifts.last_scan(conn, name)
        return BindingPageDocument(
            binding=name,
            region=topology.region_of(name),
            function=binding.function,
            alias=binding.alias,
            candidate=binding.candidate,
            serves=[row for model in models for row in live_of(serving, topology, model) if row.binding == name],
            published=[
                FunctionVersionDocument(
                    function_version=each.function_version,
                    release=each.release_id,
                    staged_at=each.staged_at,
                    models=dict(each.models),
                )
                for each in sorted(live.function_versions(conn, name), key=lambda each: each.staged_at, reverse=True)
            ][:VERSIONS_MAX],
            compared_at=scan.looked_at if scan else None,
            drifted=drifted_of(conn, topology, [name]),
            ended=[ClosedDriftDocument.model_validate(each) for each in drifts.closed_drifts(conn, ENDED_MAX, [name])],
        )
