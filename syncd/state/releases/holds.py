"""Holds: marks that keep automation away from a model until a person lifts them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema import events as event_rows
from syncd.state.db.schema import holds
from syncd.state.records import Hold
from syncd.state.releases import events


def put(conn: sa.Connection, model: str, who: str, why: str, now: datetime) -> Hold:
    """Hold a model. Repeating it replaces who, why and since when."""
    values = {"who": who, "why": why, "since": now}
    row = insert(conn, holds).values(model=model, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[holds.c.model], set_=values))
    events.append(conn, "hold.put", now=now, subject=model, detail={"model": model, "who": who, "why": why})
    return Hold(model, who, why, now)


def lift(conn: sa.Connection, model: str, who: str, now: datetime) -> bool:
    """Lift a hold on behalf of `who`. False if none existed."""
    if not conn.execute(sa.delete(holds).where(holds.c.model == model)).rowcount:
        return False
    events.append(conn, "hold.lifted", now=now, subject=model, detail={"model": model, "who": who})
    return True


def find(conn: sa.Connection, model: str) -> Hold | None:
    """The hold on a model, if there is one."""
    return fetch_one(conn, Hold, sa.select(holds).where(holds.c.model == model))


def all(conn: sa.Connection) -> list[Hold]:  # noqa: A001 -- read as `holds.all`
    """All holds, ordered by model."""
    return fetch_all(conn, Hold, sa.select(holds).order_by(holds.c.model))


@dataclass(frozen=True, slots=True)
class HoldChange:
    """A hold that was put, or lifted (`held` is false), with its time and its event."""

    event_id: int
    model: str
    held: bool
    who: str
    why: str
    at: datetime


def changes(conn: sa.Connection, after_event: int) -> list[HoldChange]:
    """Holds that were put or lifted after an event (0: ever), oldest first."""
    kinds = sa.and_(event_rows.c.id > after_event, event_rows.c.kind.in_(("hold.put", "hold.lifted", "hold.adopted")))
    columns = (event_rows.c.id, event_rows.c.kind, event_rows.c.subject, event_rows.c.detail, event_rows.c.at)
    rows = conn.execute(sa.select(*columns).where(kinds).order_by(event_rows.c.id)).all()
    return [
        HoldChange(
            row.id,
            row.subject,
            bool(row.detail.get("held", row.kind == "hold.put")),
            str(row.detail["who"]),
            str(row.detail.get("why", "")),
            datetime.fromisoformat(row.detail["since"]) if "since" in row.detail else row.at,
        )
        for row in rows
    ]


def adopt(conn: sa.Connection, change: HoldChange, now: datetime) -> bool:
    """Take a hold, or the lifting of one, from a copy. False where the record has the same or a newer change.

    The time of the copy stays, so that the newest change of several records and copies wins.
    """
    mine = [known for known in changes(conn, 0) if known.model == change.model]
    if any(known.at >= change.at for known in mine):
        return False
    if change.held:
        values = {"who": change.who, "why": change.why, "since": change.at}
        row = insert(conn, holds).values(model=change.model, **values)
        conn.execute(row.on_conflict_do_update(index_elements=[holds.c.model], set_=values))
    else:
        conn.execute(sa.delete(holds).where(holds.c.model == change.model))
    detail = {"model": change.model, "held": change.held, "who": change.who, "why": change.why}
    detail["since"] = change.at.isoformat()
    events.append(conn, "hold.adopted", now=now, subject=change.model, detail=detail)
    return True
