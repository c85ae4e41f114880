"""Removals: versions that the retention rules have marked, and those whose removal a person has undone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, fetch_one, insert, insert_new
from syncd.state.db.schema import counters
from syncd.state.db.schema_keeping import removals
from syncd.state.records import Version
from syncd.state.releases import events

_COUNTER: Final = "removals"


@dataclass(frozen=True, slots=True)
class Removal:
    """A version that the retention rules remove at `due_at`; or, with `spared_by`, whose removal a person undid."""

    version_id: str
    run: str  # of the pass that marked it
    who: str
    why: str
    marked_at: datetime
    due_at: datetime
    spared_by: str


def next_run(conn: sa.Connection) -> str:
    """The name of a new pass: `gc-1`, `gc-2`, …"""
    first = insert(conn, counters).values(name=_COUNTER, value=1)
    query = first.on_conflict_do_update(index_elements=[counters.c.name], set_={"value": counters.c.value + 1})
    return f"gc-{conn.execute(query.returning(counters.c.value)).scalar_one()}"


def mark(conn: sa.Connection, version: Version, removal: Removal) -> bool:
    """Mark a version. False if it is marked already, or spared."""
    values = {"run": removal.run, "who": removal.who, "why": removal.why, "marked_at": removal.marked_at}
    if not insert_new(conn, removals, version_id=version.id, due_at=removal.due_at, **values):
        return False
    more: dict[str, object] = {
        "run": removal.run,
        "who": removal.who,
        "why": removal.why,
        "until": removal.due_at.isoformat(),
    }
    _record_event(conn, "version.marked", version, removal.marked_at, more)
    return True


def find(conn: sa.Connection, version_id: str) -> Removal | None:
    """The mark of a version, or that it is spared."""
    return fetch_one(conn, Removal, sa.select(removals).where(removals.c.version_id == version_id))


def all(conn: sa.Connection) -> list[Removal]:  # noqa: A001 -- read as `removals.all`
    """Every marked and every spared version, by when it is due."""
    return fetch_all(conn, Removal, sa.select(removals).order_by(removals.c.due_at, removals.c.version_id))


def of_run(conn: sa.Connection, run: str) -> list[Removal]:
    """The versions that a pass marked and that are still marked, ordered by id."""
    mine = sa.select(removals).where(removals.c.run == run, removals.c.spared_by == "")
    return fetch_all(conn, Removal, mine.order_by(removals.c.version_id))


def spare(conn: sa.Connection, version: Version, who: str, now: datetime) -> bool:
    """Undo the mark of a version for `who`; the rules do not mark it again. False if it was not marked."""
    marked = sa.and_(removals.c.version_id == version.id, removals.c.spared_by == "")
    if not conn.execute(sa.update(removals).where(marked).values(spared_by=who)).rowcount:
        return False
    _record_event(conn, "version.unmarked", version, now, {"who": who, "reason": "undone"})
    return True


def unmark(conn: sa.Connection, version: Version, reasons: Collection[str], now: datetime) -> bool:
    """Take the mark off a version that is needed after all. False if it was not marked."""
    marked = sa.and_(removals.c.version_id == version.id, removals.c.spared_by == "")
    if not conn.execute(sa.delete(removals).where(marked)).rowcount:
        return False
    _record_event(conn, "version.unmarked", version, now, {"reason": "; ".join(reasons)})
    return True


def forget(conn: sa.Connection, version_id: str) -> None:
    """Forget the mark of a version, which is being retired. Repeating it is success."""
    conn.execute(sa.delete(removals).where(removals.c.version_id == version_id))


def _record_event(conn: sa.Connection, kind: str, version: Version, now: datetime, more: dict[str, object]) -> None:
    detail = {"model": version.model, "version": version.id, **more}
    events.append(conn, kind, now=now, subject=f"{version.model}@{version.name}", detail=detail)
