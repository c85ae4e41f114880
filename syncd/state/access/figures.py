"""Figures about the whole record, for metrics: a constant number of statements, however much the record has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from syncd.plan.phases import RELEASE_ENDS, STEP_ENDS, PlacementPhase, ReleasePhase, StepState
from syncd.plan.routing import kind_of
from syncd.state.content import proofs
from syncd.state.content.proofs import TargetProof
from syncd.state.db.schema import deliveries, freezes, holds, live, placements, releases, steps, versions
from syncd.state.db.schema_serving import drift_looks, drifts, repairs

_OPEN_STATES: Final = tuple(state for state in StepState if state not in STEP_ENDS)
_OPEN_PHASES: Final = tuple(phase for phase in ReleasePhase if phase not in RELEASE_ENDS)


@dataclass(frozen=True, slots=True)
class Pending:
    """How many wait or work, and since when the oldest does."""

    count: int
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """The placements of one target. The bytes are those of the newest copy of each."""

    phases: Mapping[PlacementPhase, int]
    oldest_seal: datetime | None
    bytes_sent: int
    bytes_copied: int
    bytes_kept: int


@dataclass(frozen=True, slots=True)
class RecordFigures:
    """The record at one moment. Bindings, targets and registries may be such that are not configured any more."""

    steps: Mapping[tuple[str, StepState], Pending]  # by kind of queue: those of regions count too
    releases: Mapping[ReleasePhase, Pending]  # in flight
    targets: Mapping[str, TargetFigures]
    deliveries: Mapping[str, Pending]  # not processed yet, by registry
    drifts: tuple[tuple[str, str], ...]  # open: binding, what
    scans: Mapping[str, datetime]  # the last comparison of each binding
    live: Mapping[str, Mapping[str, str]]  # binding -> model -> version
    holds: int
    freezes: int
    quarantined: int
    repairs: int  # not ended
    proofs: tuple[TargetProof, ...]


def read(conn: sa.Connection, now: datetime) -> RecordFigures:
    """All figures, by one statement each."""
    quarantined = sa.select(sa.func.count()).select_from(versions).where(versions.c.quarantined != "")
    is_frozen = sa.or_(freezes.c.until.is_(None), freezes.c.until > now)
    return RecordFigures(
        steps=_steps(conn),
        releases=_releases(conn),
        targets=_targets(conn),
        deliveries=_deliveries(conn),
        drifts=tuple(
            (row.binding, row.what)
            for row in conn.execute(sa.select(drifts.c.binding, drifts.c.what).where(drifts.c.closed_at.is_(None)))
        ),
        scans={row.binding: row.looked_at for row in conn.execute(sa.select(drift_looks))},
        live={row.binding: row.models for row in conn.execute(sa.select(live.c.binding, live.c.models))},
        holds=_count(conn, sa.select(sa.func.count()).select_from(holds)),
        freezes=_count(conn, sa.select(sa.func.count()).select_from(freezes).where(is_frozen)),
        quarantined=_count(conn, quarantined),
        repairs=_count(conn, sa.select(sa.func.count()).select_from(repairs).where(repairs.c.done_at.is_(None))),
        proofs=tuple(proofs.by_target(conn)),
    )


def _count(conn: sa.Connection, query: sa.Select[int]) -> int:
    counted: int = conn.execute(query).scalar_one()
    return counted


def _steps(conn: sa.Connection) -> dict[tuple[str, StepState], Pending]:
    counted = sa.func.count().label("count")
    query = sa.select(steps.c.queue, steps.c.state, counted, sa.func.min(steps.c.due_at).label("oldest"))
    query = query.where(steps.c.state.in_(_OPEN_STATES)).group_by(steps.c.queue, steps.c.state)
    found: dict[tuple[str, StepState], Pending] = {}
    for row in conn.execute(query):
        key = kind_of(row.queue), StepState(row.state)
        known = found.get(key, Pending(0))
        found[key] = Pending(known.count + _number(row, "count"), _older(known.oldest, row.oldest))
    return found


def _older(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _releases(conn: sa.Connection) -> dict[ReleasePhase, Pending]:
    counted = sa.func.count().label("count")
    query = sa.select(releases.c.phase, counted, sa.func.min(releases.c.created_at).label("oldest"))
    query = query.where(releases.c.phase.in_(_OPEN_PHASES)).group_by(releases.c.phase)
    return {ReleasePhase(row.phase): Pending(_number(row, "count"), row.oldest) for row in conn.execute(query)}


def _deliveries(conn: sa.Connection) -> dict[str, Pending]:
    counted = sa.func.count().label("count")
    query = sa.select(deliveries.c.registry, counted, sa.func.min(deliveries.c.received_at).label("oldest"))
    query = query.where(deliveries.c.looked_at.is_(None)).group_by(deliveries.c.registry)
    return {row.registry: Pending(_number(row, "count"), row.oldest) for row in conn.execute(query)}


def _targets(conn: sa.Connection) -> dict[str, TargetFigures]:
    query = sa.select(
        placements.c.target,
        placements.c.phase,
        sa.func.count().label("count"),
        sa.func.min(placements.c.updated_at).label("oldest"),
        *(sa.func.sum(_progress(name)).label(name) for name in ("bytes_sent", "bytes_copied", "bytes_kept")),
    ).group_by(placements.c.target, placements.c.phase)
    rows: dict[str, list[Any]] = {}
    for row in conn.execute(query):
        rows.setdefault(row.target, []).append(row)
    return {target: _target(found) for target, found in rows.items()}


def _target(rows: list[Any]) -> TargetFigures:
    return TargetFigures(
        phases={PlacementPhase(row.phase): _number(row, "count") for row in rows},
        oldest_seal=next((row.oldest for row in rows if row.phase == PlacementPhase.SEALED), None),
        bytes_sent=sum(_number(row, "bytes_sent") for row in rows),
        bytes_copied=sum(_number(row, "bytes_copied") for row in rows),
        bytes_kept=sum(_number(row, "bytes_kept") for row in rows),
    )


def _progress(name: str) -> sa.ColumnElement[int]:
    """A counter in the progress of a copy. As text first: PostgreSQL's integers end at 2 GiB."""
    return sa.cast(sa.type_coerce(placements.c.progress, sa.JSON)[name].as_string(), sa.BigInteger)


def _number(row: Any, name: str) -> int:
    """PostgreSQL sums big integers to decimals; no rows sum to nothing."""
    return int(row._mapping[name] or 0)  # noqa: SLF001 -- the public name of a row's mapping
