"""Health: the one definition of good, degraded and bad, for `syncd health`, `status` and the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Connection

from syncd.plan.topology import Topology
from syncd.reconcile.views.shapes.serving import (
    ComponentHealthDocument,
    DaemonProcessDocument,
    HealthReportDocument,
    RefusalDocument,
    RefusedCallersDocument,
    TroubleDocument,
)
from syncd.state.access import component_health, processes, record_disk, record_lock, refusals
from syncd.state.access.component_health import ComponentHealth
from syncd.state.records import ProcessSeen
from syncd.state.serving import drifts
from syncd.state.state import State
from syncd.values.health import BAD, DEGRADED, GOOD, UNKNOWN, HealthState

STALE_AFTER: Final = timedelta(seconds=60)  # three times the interval of the daemon's reports
_RECORD: Final = "record"
_DISK: Final = "disk"
_LOCK: Final = "lock"


def health(state: State, topology: Topology, current: Sequence[ComponentHealth] | None = None) -> HealthReportDocument:
    """The health at one moment. `current` is what the asking daemon knows itself; else its report in the record counts.

    Raises:
        Unavailable, Invalid, Refused: The record cannot be read: nothing is healthy.
    """
    with state.read() as conn:
        now = state.now(conn)
        alive = processes.alive(conn, now)
        components = [*_components(conn, state, alive, now, current), *_drift(conn, topology, now)]
        refused = refused_callers(conn, now)
        lost = None if alive else processes.lost(conn, now)
    return HealthReportDocument(
        status=_status(components, is_alive=bool(alive)),
        alive=bool(alive),
        processes=[DaemonProcessDocument.model_validate(each) for each in alive],
        lost=None if lost is None else DaemonProcessDocument.model_validate(lost),
        components=[ComponentHealthDocument.model_validate(each) for each in components],
        refused=refused,
    )


def refused_callers(conn: Connection, now: datetime) -> RefusedCallersDocument | None:
    """The refused callers of the last hour, as the API last reported them; None where there are none."""
    found = refusals.read(conn, now)
    if not found.total:
        return None
    callers = [RefusalDocument.model_validate(each) for each in found.top]
    return RefusedCallersDocument(total=found.total, callers=callers)


def troubles(conn: Connection, state: State) -> list[TroubleDocument]:
    """What is not good, for the overview, which lists drift by itself. Nothing is known where no daemon works."""
    now = state.now(conn)
    alive = processes.alive(conn, now)
    return [
        TroubleDocument(
            section=each.section, name=each.name, state=each.state, since=each.since, reason=each.reason, hint=each.hint
        )
        for each in _components(conn, state, alive, now, None)
        if each.state not in {GOOD, UNKNOWN}
    ]


def _status(components: Iterable[ComponentHealth], *, is_alive: bool) -> Literal["good", "degraded", "bad"]:
    states = {each.state for each in components}
    if not is_alive or BAD in states:
        return "bad"
    return "good" if states <= {GOOD} else "degraded"


def _components(
    conn: Connection,
    state: State,
    alive: Sequence[ProcessSeen],
    now: datetime,
    current: Sequence[ComponentHealth] | None,
) -> list[ComponentHealth]:
    reported = list(_reported(conn, alive, now) if current is None else current)
    known = next((each for each in reported if (each.section, each.name) == (_RECORD, _DISK)), None)
    checked = [_unknown(each) for each in reported if each is not known]
    return [*checked, _disk(state, known, now), *([] if alive else _lock(state, now))]


def _reported(conn: Connection, alive: Sequence[ProcessSeen], now: datetime) -> Sequence[ComponentHealth]:
    report = component_health.read(conn)
    if report is None or not alive:  # a report of a process that has ended says nothing about now
        return ()
    if now - report.written_at < STALE_AFTER:
        return report.components
    reason = "the daemon has not reported its checks since"
    late = ComponentHealth("daemon", alive[0].owner, DEGRADED, report.written_at, reason, "see the daemon's log")
    return (late, *report.components)


def _unknown(found: ComponentHealth) -> ComponentHealth:
    return replace(found, reason="not checked yet") if found.state == UNKNOWN else found


def _drift(conn: Connection, topology: Topology, now: datetime) -> list[ComponentHealth]:
    """One component for each binding that drifted, or one for all of them."""
    found = [
        ComponentHealth(
            "drift",
            each.binding,
            DEGRADED,
            each.found_at,
            f"{each.what} is {each.got}, the record says {each.want}",
            f"`syncd drift` lists it, `syncd restore {each.binding}` restores what is recorded",
            each.seen_at,
        )
        for each in drifts.open_drifts(conn, list(topology.bindings))
    ]
    if found:
        return found
    ended = [each.closed_at for each in drifts.closed_drifts(conn, 1, list(topology.bindings)) if each.closed_at]
    return [ComponentHealth("drift", "all bindings", GOOD, next(iter(ended), now))]


def _lock(state: State, now: datetime) -> list[ComponentHealth]:
    """Where no daemon reports: whether another program keeps it from that."""
    hint = record_lock.holder_hint(state.url)
    reason = "another program holds the record's lock, so nothing can be written"
    return [] if hint is None else [ComponentHealth(_RECORD, _LOCK, BAD, now, reason, hint, now)]


def _disk(state: State, known: ComponentHealth | None, now: datetime) -> ComponentHealth:
    """Looked at now: a record whose disk is full cannot be told of it."""
    fault = record_disk.fault(state.url)
    found: HealthState = GOOD if fault is None else BAD if fault.is_full else DEGRADED
    same = known is not None and (known.state == GOOD) == (fault is None) and known.state != UNKNOWN
    since = known.since if known is not None and same else now
    reason, hint = (fault.reason, fault.hint) if fault else ("", "")
    return ComponentHealth(_RECORD, _DISK, found, since, reason, hint, now)
