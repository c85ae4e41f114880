"""Freezes: models of which nothing is flipped, but rollbacks, until somebody lifts it or its time is over."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, insert
from syncd.state.db.schema import freezes
from syncd.state.records import Freeze
from syncd.state.releases import events

ALL_MODELS: Final = "*"  # no model can be called so


def put(conn: sa.Connection, model: str, who: str, why: str, until: datetime | None, now: datetime) -> Freeze:
    """Freeze a model, or all with `EVERY`. Freezing what is frozen replaces who, why and until when."""
    values = {"who": who, "why": why, "since": now, "until": until}
    row = insert(conn, freezes).values(model=model, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[freezes.c.model], set_=values))
    detail: dict[str, object] = {"model": model, "who": who, "why": why, "until": until.isoformat() if until else None}
    events.append(conn, "freeze.put", now=now, subject=model, detail=detail)
    return Freeze(model, who, why, now, until)


def lift(conn: sa.Connection, model: str, who: str, now: datetime) -> bool:
    """Lift a freeze; `who` did it. False if there was none, or its time was over."""
    found = conn.execute(sa.delete(freezes).where(freezes.c.model == model).returning(freezes.c.until)).first()
    if found is None or _is_over(found.until, now):
        return False
    events.append(conn, "freeze.lifted", now=now, subject=model, detail={"model": model, "who": who})
    return True


def of(conn: sa.Connection, model: str, now: datetime) -> list[Freeze]:
    """What freezes a model now: its own freeze first, then that of all models."""
    query = sa.select(freezes).where(freezes.c.model.in_((model, ALL_MODELS))).order_by(freezes.c.model.desc())
    return [freeze for freeze in fetch_all(conn, Freeze, query) if not _is_over(freeze.until, now)]


def all(conn: sa.Connection, now: datetime) -> list[Freeze]:  # noqa: A001 -- read as `freezes.all`
    """All freezes that are on, in the order of their models."""
    found = fetch_all(conn, Freeze, sa.select(freezes).order_by(freezes.c.model))
    return [freeze for freeze in found if not _is_over(freeze.until, now)]


def _is_over(until: datetime | None, now: datetime) -> bool:
    return until is not None and until <= now
