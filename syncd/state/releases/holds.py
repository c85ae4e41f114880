"""Holds: models that automation must leave alone until a person lets go."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema import holds
from syncd.state.records import Hold
from syncd.state.releases import events


def put(conn: sa.Connection, model: str, who: str, why: str, now: datetime) -> Hold:
    """Hold a model. Holding what is held replaces who and why, and since when."""
    values = {"who": who, "why": why, "since": now}
    row = insert(conn, holds).values(model=model, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[holds.c.model], set_=values))
    events.append(conn, "hold.put", now=now, subject=model, detail={"model": model, "who": who, "why": why})
    return Hold(model, who, why, now)


def lift(conn: sa.Connection, model: str, who: str, now: datetime) -> bool:
    """Let go; `who` did it. False if there was no hold."""
    if not conn.execute(sa.delete(holds).where(holds.c.model == model)).rowcount:
        return False
    events.append(conn, "hold.lifted", now=now, subject=model, detail={"model": model, "who": who})
    return True


def find(conn: sa.Connection, model: str) -> Hold | None:
    """The hold on a model, if there is one."""
    return fetch_one(conn, Hold, sa.select(holds).where(holds.c.model == model))


def all(conn: sa.Connection) -> list[Hold]:  # noqa: A001 -- read as `holds.all`
    """All holds, in the order of their models."""
    return fetch_all(conn, Hold, sa.select(holds).order_by(holds.c.model))
