"""Freezes: marks that block all flips of a model except rollbacks, until they are lifted or expire."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, insert
from syncd.state.db.schema import freezes
from syncd.state.records import Freeze
from syncd.state.releases import events

ALL_MODELS: Final = "*"  # not a valid model name


def put(conn: sa.Connection, model: str, who: str, why: str, until: datetime | None, now: datetime) -> Freeze:
    """Freeze a model, or all with `ALL_MODELS`. Repeating it replaces who, why and until when."""
    values = {"who": who, "why": why, "since": now, "until": until}
    row = insert(conn, freezes).values(model=model, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[freezes.c.model], set_=values))
    detail: dict[str, object] = {"model": model, "who": who, "why": why, "until": until.isoformat() if until else None}
    events.append(conn, "freeze.put", now=now, subject=model, detail=detail)
    return Freeze(model, who, why, now, until)


def lift(conn: sa.Connection, model: str, who: str, now: datetime) -> bool:
    """Lift a freeze on behalf of `who`. False if none existed, or it had expired."""
    found = conn.execute(sa.delete(freezes).where(freezes.c.model == model).returning(freezes.c.until)).first()
    if found is None or _is_over(found.until, now):
        return False
    events.append(conn, "freeze.lifted", now=now, subject=model, detail={"model": model, "who": who})
    return True


def of(conn: sa.Connection, model: str, now: datetime) -> list[Freeze]:
    """The freezes that apply to a model now: its own first, then that of all models."""
    query = sa.select(freezes).where(freezes.c.model.in_((model, ALL_MODELS))).order_by(freezes.c.model.desc())
    return [freeze for freeze in fetch_all(conn, Freeze, query) if not _is_over(freeze.until, now)]


def all(conn: sa.Connection, now: datetime) -> list[Freeze]:  # noqa: A001 -- read as `freezes.all`
    """All freezes in effect, ordered by model."""
    found = fetch_all(conn, Freeze, sa.select(freezes).order_by(freezes.c.model))
    return [freeze for freeze in found if not _is_over(freeze.until, now)]


def _is_over(until: datetime | None, now: datetime) -> bool:
    return until is not None and until <= now
