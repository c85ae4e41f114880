"""Overview of the record for `syncd status` and the API: live versions, releases in flight, and what is stuck."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from syncd.artifact.names import parse_model
from syncd.errors import NotFound
from syncd.plan.drift import ALIAS
from syncd.plan.topology import Topology
from syncd.reconcile.requests.operations import DISMISSED
from syncd.reconcile.views.health import refused_callers, troubles
from syncd.reconcile.views.in_flight import in_flight
from syncd.reconcile.views.resolution import resolution
from syncd.reconcile.views.serving import ServingSnapshot
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
    TargetProofDocument,
)
from syncd.reconcile.views.shapes.serving import FreezeDocument, HoldDocument
from syncd.reconcile.views.watched_bases import watched_bases
from syncd.state.access import processes, record_info
from syncd.state.content import base_images, proofs, versions
from syncd.state.records import Hold, ProcessSeen
from syncd.state.releases import events, freezes, holds, releases
from syncd.state.serving import drift_resolutions, drifts
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
        serving = ServingSnapshot.read(conn, topology, None if model is None else wanted)
        return _status(conn, state, topology, serving, wanted, wanted).as_json()


def overview_page(state: State, topology: Topology, shown: Sequence[str]) -> StatusDocument:
    """The record at one moment: what a page of models serves, and of all models what is in flight or needs a person."""
    wanted = topology.models()
    with state.read() as conn:
        read = None if topology.watched else {*shown, *(release.model for release in releases.newest_failed(conn))}
        return _status(conn, state, topology, ServingSnapshot.read(conn, topology, read), wanted, shown)


def _status(
    conn: Connection,
    state: State,
    topology: Topology,
    serving: ServingSnapshot,
    wanted: Sequence[str],
    shown: Sequence[str],
) -> StatusDocument:
    order = {name: place for place, name in enumerate(wanted)}
    held = {hold.model: hold for hold in holds.all(conn)}
    now = state.now(conn)
    alive = processes.alive(conn, now)
    return StatusDocument(
        daemon=_daemon(alive[0] if alive else None),
        lost_daemon=_daemon(None if alive else processes.lost(conn, now)),
        automatic_releases_off=record_info.automatic_off(conn),
        live=[row for name in shown for row in live_of(serving, topology, name)],
        in_flight=in_flight(conn, state, order),
        held=[HoldDocument.model_validate(hold) for hold in held.values() if hold.model in order],
        frozen=[
            FreezeDocument.model_validate(freeze)
            for freeze in freezes.all(conn, now)
            if freeze.model == freezes.ALL_MODELS or freeze.model in order
        ],
        quarantined=[
            QuarantineDocument(model=v.model, version=v.name, reason=v.quarantined)
            for v in sorted(versions.quarantined(conn), key=lambda v: order.get(v.model, 0))
            if v.model in order
        ],
        stalled=_stalled(conn, topology, serving, order, held),
        bases=watched_bases(conn, topology, wanted, serving) if topology.watched else [],
        drifted=drifted_of(conn, topology, {b.name for name in wanted for b in topology.bindings_of(name)}),
        unhealthy=troubles(conn, state),
        refused=refused_callers(conn, now),
        proofs=[TargetProofDocument.model_validate(each) for each in proofs.by_target(conn)],
    )


def models(state: State, topology: Topology) -> dict[str, Any]:
    """Every model that a binding serves, as JSON: its registry, the live version of each binding, and its hold."""
    with state.read() as conn:
        held = {each.model: each for each in holds.all(conn)}
        serving, latest = ServingSnapshot.read(conn, topology), releases.latest_ids(conn, topology.models())
        found = [
            ServedModelDocument(
                model=name,
                registry=topology.registry_name(name),
                live=live_of(serving, topology, name),
                held=held[name].why if name in held else None,
                latest_release=latest.get(name),
            )
            for name in topology.models()
        ]
        return ModelsDocument(models=found).as_json()


def drift_rows(conn: Connection, topology: Topology, bindings: Collection[str]) -> list[dict[str, Any]]:
    """Open drift of these bindings as JSON, by the newest check of each."""
    return [row.as_json() for row in drifted_of(conn, topology, bindings)]


def drift_document(
    state: State, topology: Topology, bindings: Collection[str], *, ended_max: int = 0
) -> dict[str, Any]:
    """Open drift, the time of the last check of each binding, and the newest closed drift. Contacts no region."""
    with state.read() as conn:
        found = drifted_of(conn, topology, bindings)
        looked_at = {each: scan.looked_at for each, scan in drifts.last_scans(conn).items()}
        over = drifts.closed_drifts(conn, ended_max, bindings) if ended_max else []
    return DriftDocument(
        good=not found,
        drifted=found,
        looked_at={each: looked_at.get(each) for each in bindings},
        ended=[ClosedDriftDocument.model_validate(each) for each in over],
    ).as_json()


def drifted_of(conn: Connection, topology: Topology, bindings: Collection[str]) -> list[DriftedDocument]:
    rows: list[DriftedDocument] = []
    wanted = frozenset(bindings)
    found = [drift for drift in drifts.open_drifts(conn) if drift.binding in wanted]
    resolutions = drift_resolutions.all(conn) if found else {}
    for drift in found:
        binding, restoring = topology.bindings[drift.binding], resolutions.get(drift.binding)
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


def _daemon(found: ProcessSeen | None) -> DaemonDocument | None:
    return DaemonDocument(owner=found.owner, seen_at=found.seen_at) if found else None


def live_of(serving: ServingSnapshot, topology: Topology, model: str) -> list[LiveDocument]:
    rows: list[LiveDocument] = []
    for binding in topology.bindings_of(model):
        recorded, version = serving.live.get(binding.name), serving.version_of(binding.name, model)
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


def _stalled(
    conn: Connection,
    topology: Topology,
    serving: ServingSnapshot,
    order: Mapping[str, int],
    held: Mapping[str, Hold],
) -> list[StalledDocument]:
    """The newest release of each model, if it ended without being live and nobody dismissed it: it needs a person."""
    failed = [release for release in releases.newest_failed(conn) if release.model in order]
    if not failed:
        return []
    ids = [release.id for release in failed]
    rebuilt, dismissed = base_images.rebuilt(conn, ids), events.having(conn, ids, DISMISSED)
    rows: list[StalledDocument] = []
    for release in sorted((each for each in failed if each.id not in dismissed), key=lambda each: order[each.model]):
        advice = resolution(release, held.get(release.model), is_rebuilt=release.id in rebuilt)
        found = [serving.version_of(binding.name, release.model) for binding in topology.bindings_of(release.model)]
        ids_served = {version.id if version else None for version in found}
        rows.append(
            StalledDocument(
                release=release.id,
                model=release.model,
                version=release.ref,
                phase=release.phase,
                since=release.updated_at,
                reason=release.reason,
                hint=f"{advice}; `syncd dismiss {release.id}` takes it off this list",
                served=sorted({version.name for version in found if version}),
                is_live=release.version_id is not None and ids_served == {release.version_id},
            )
        )
    return rows
