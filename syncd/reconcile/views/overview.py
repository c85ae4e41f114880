"""Overview of the record for `syncd status` and the API: live versions, releases in flight, and what is stuck."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection

from syncd.artifact.names import parse_model
from syncd.errors import NotFound
from syncd.plan.drift import ALIAS
from syncd.plan.topology import Topology
from syncd.reconcile.requests.operations import DISMISSED, DISMISSIBLE
from syncd.reconcile.views.in_flight import in_flight
from syncd.reconcile.views.resolution import resolution
from syncd.reconcile.views.shapes.overview import (
    ClosedDriftDocument,
    DaemonDocument,
    DriftDocument,
    DriftedDocument,
    LiveDocument,
    ModelsDocument,
    QuarantineDocument,
    ServedModelDocument,
    StalledDocument,
    StatusDocument,
)
from syncd.reconcile.views.shapes.serving import FreezeDocument, HoldDocument
from syncd.reconcile.views.watched_bases import watched_bases
from syncd.state.access import processes, record_info
from syncd.state.content import base_images, versions
from syncd.state.releases import events, freezes, holds, releases
from syncd.state.serving import drift_resolutions, drifts, live
from syncd.state.state import State

ENDED_MAX: Final = 20  # closed drifts shown, newest first


def overview(state: State, topology: Topology, model: str | None = None) -> dict[str, Any]:
    """The record at one moment as JSON, of one model or of all; contacts no cloud.

    Raises:
        NotFound: No binding serves the model.
    """
    wanted = topology.models() if model is None else (str(parse_model(model)),)
    if model is not None and not topology.bindings_of(model):
        raise NotFound(f"no binding serves the model {model!r}", hint="`syncd status` lists all models")
    with state.read() as conn:
        return StatusDocument(
            daemon=_daemon(conn, state),
            automatic_releases_off=record_info.automatic_off(conn),
            live=[row for name in wanted for row in _live(conn, topology, name)],
            in_flight=[row for name in wanted for row in in_flight(conn, state, name)],
            held=[HoldDocument.model_validate(hold) for hold in holds.all(conn) if hold.model in wanted],
            frozen=[
                FreezeDocument.model_validate(freeze)
                for freeze in freezes.all(conn, state.now(conn))
                if freeze.model in {freezes.ALL_MODELS, *wanted}
            ],
            quarantined=[
                QuarantineDocument(model=v.model, version=v.name, reason=v.quarantined)
                for name in wanted
                for v in versions.known(conn, name)
                if v.quarantined
            ],
            stalled=[row for name in wanted for row in _stalled(conn, topology, name)],
            bases=watched_bases(conn, topology, wanted),
            drifted=_drifted(conn, topology, {b.name for name in wanted for b in topology.bindings_of(name)}),
        ).as_json()


def models(state: State, topology: Topology) -> dict[str, Any]:
    """Every model that a binding serves, as JSON: its registry, the live version of each binding, and its hold."""
    with state.read() as conn:
        held = {each.model: each for each in holds.all(conn)}
        found: list[ServedModelDocument] = []
        for name in topology.models():
            latest = releases.latest(conn, name)
            found.append(
                ServedModelDocument(
                    model=name,
                    registry=topology.registry_name(name),
                    live=_live(conn, topology, name),
                    held=held[name].why if name in held else None,
                    latest_release=latest.id if latest else None,
                )
            )
        return ModelsDocument(models=found).as_json()


def drift_rows(conn: Connection, topology: Topology, bindings: Collection[str]) -> list[dict[str, Any]]:
    """Open drift of these bindings as JSON, by the newest check of each."""
    return [row.as_json() for row in _drifted(conn, topology, bindings)]


def drift_document(
    state: State, topology: Topology, bindings: Collection[str], *, ended_max: int = 0
) -> dict[str, Any]:
    """Open drift, the time of the last check of each binding, and the newest closed drift. Contacts no region."""
    with state.read() as conn:
        found = _drifted(conn, topology, bindings)
        scans = {each: drifts.last_scan(conn, each) for each in bindings}
        over = drifts.closed_drifts(conn, ended_max, bindings) if ended_max else []
    return DriftDocument(
        good=not found,
        drifted=found,
        looked_at={each: scan.looked_at if scan else None for each, scan in scans.items()},
        ended=[ClosedDriftDocument.model_validate(each) for each in over],
    ).as_json()


def _drifted(conn: Connection, topology: Topology, bindings: Collection[str]) -> list[DriftedDocument]:
    rows: list[DriftedDocument] = []
    for drift in drifts.open_drifts(conn, bindings):
        binding, restoring = topology.bindings[drift.binding], drift_resolutions.find(conn, drift.binding)
        adopt = f"`syncd adopt {binding.name}` accepts it into the record, " if drift.what == ALIAS else ""
        rows.append(
            DriftedDocument(
                binding=binding.name,
                region=topology.regions[binding.runtime],
                function=binding.function,
                alias=binding.alias,
                what=drift.what,
                got=drift.got,
                want=drift.want,
                good_at=drift.good_at,
                found_at=drift.found_at,
                seen_at=drift.seen_at,
                restoring=f"{restoring.who}: {restoring.why}" if restoring else None,
                hint=f"{adopt}`syncd restore {binding.name}` restores what is recorded",
            )
        )
    return rows


def _daemon(conn: Connection, state: State) -> DaemonDocument | None:
    alive = processes.alive(conn, state.now(conn))
    return DaemonDocument(owner=alive[0].owner, seen_at=alive[0].seen_at) if alive else None


def _live(conn: Connection, topology: Topology, model: str) -> list[LiveDocument]:
    rows: list[LiveDocument] = []
    for binding in topology.bindings_of(model):
        recorded = live.get(conn, binding.name)
        version_id = recorded.models.get(model) if recorded else None
        version = versions.get(conn, version_id) if version_id else None
        rows.append(
            LiveDocument(
                model=model,
                version=version.name if version else None,
                digest=version.digest.hex if version else None,
                region=topology.regions[binding.runtime],
                binding=binding.name,
                function=binding.function,
                alias=binding.alias,
                function_version=recorded.function_version if recorded else None,
                since=recorded.since if recorded else None,
                release=recorded.release_id if recorded else None,
            )
        )
    return rows


def _stalled(conn: Connection, topology: Topology, model: str) -> list[StalledDocument]:
    """The newest release of the model, if it ended without being live and nobody dismissed it: it needs a person."""
    latest = releases.latest(conn, model)
    if latest is None or latest.phase not in DISMISSIBLE or events.has(conn, latest.id, DISMISSED):
        return []
    is_rebuilt = any(each.was for each in base_images.of_release(conn, latest.id))
    advice = resolution(latest, holds.find(conn, model), is_rebuilt=is_rebuilt)
    recorded = [live.get(conn, binding.name) for binding in topology.bindings_of(model)]
    serving = [row.models.get(model) if row else None for row in recorded]
    return [
        StalledDocument(
            release=latest.id,
            model=model,
            version=latest.ref,
            phase=latest.phase,
            since=latest.updated_at,
            reason=latest.reason,
            hint=f"{advice}; `syncd dismiss {latest.id}` takes it off this list",
            served=sorted({versions.get(conn, each).name for each in serving if each}),
            is_live=latest.version_id is not None and set(serving) == {latest.version_id},
        )
    ]
