"""Drifts: differences between the world and the record, their times, and how they ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.plan.drift import Difference
from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema_serving import drift_looks, drifts
from syncd.state.records import Drift, DriftScan, Live
from syncd.state.releases import events

_OPEN: Final = drifts.c.closed_at.is_(None)


def open_drifts(conn: sa.Connection, bindings: Collection[str] | None = None) -> list[Drift]:
    """Open drifts, of some bindings or of all, ordered by binding."""
    query = sa.select(drifts).where(_OPEN).order_by(drifts.c.binding, drifts.c.what)
    return fetch_all(conn, Drift, query if bindings is None else query.where(drifts.c.binding.in_(tuple(bindings))))


def closed_drifts(conn: sa.Connection, limit: int, bindings: Collection[str] | None = None) -> list[Drift]:
    """At most `limit` closed drifts, the latest end first."""
    query = sa.select(drifts).where(~_OPEN).order_by(drifts.c.closed_at.desc(), drifts.c.binding, drifts.c.what)
    mine = query if bindings is None else query.where(drifts.c.binding.in_(tuple(bindings)))
    return fetch_all(conn, Drift, mine.limit(limit))


def last_scan(conn: sa.Connection, binding: str) -> DriftScan | None:
    """The last scan of a binding."""
    return fetch_one(conn, DriftScan, sa.select(drift_looks).where(drift_looks.c.binding == binding))


def last_scans(conn: sa.Connection) -> dict[str, DriftScan]:
    """The last scan of each binding that was ever scanned, in one statement."""
    return {each.binding: each for each in fetch_all(conn, DriftScan, sa.select(drift_looks))}


def note(conn: sa.Connection, recorded: Live, found: Sequence[Difference], now: datetime) -> list[Drift]:
    """Record one scan of a binding: open new drifts, keep those still found, close the others. Returns the new ones.

    A part that differs in another way than before is a new drift.
    """
    known = {drift.what: drift for drift in open_drifts(conn, (recorded.binding,))}
    differ = {difference.what: difference for difference in found}
    for what, drift in known.items():
        if what not in differ:
            _close(conn, drift, "it is as recorded again", now)
            events.append(conn, "binding.returned", now=now, subject=drift.binding, detail=_detail(drift))
        elif (drift.got, drift.want) != (differ[what].got, differ[what].want):
            _close(conn, drift, f"it became {differ[what].got}", now)
    _keep(conn, recorded.binding, [w for w, d in differ.items() if w in known and _is(known[w], d)], now)
    new = [d for what, d in differ.items() if what not in known or not _is(known[what], d)]
    good_at = _good_at(conn, recorded)
    _record_scan(conn, recorded.binding, now, is_good=not found)
    return [_open(conn, recorded.binding, each, good_at, now) for each in new]


def close(conn: sa.Connection, over: Sequence[Drift], how: str, now: datetime) -> None:
    """Close drifts and record how they ended. The caller writes the event."""
    for drift in over:
        _close(conn, drift, how, now)


def _is(drift: Drift, difference: Difference) -> bool:
    return (drift.got, drift.want) == (difference.got, difference.want)


def _good_at(conn: sa.Connection, recorded: Live) -> datetime:
    """When it surely matched the record: at the newest good scan, or when syncd moved it and read it back."""
    seen = last_scan(conn, recorded.binding)
    return max(recorded.since, seen.good_at) if seen is not None and seen.good_at is not None else recorded.since


def _record_scan(conn: sa.Connection, binding: str, now: datetime, *, is_good: bool) -> None:
    values = {"looked_at": now, **({"good_at": now} if is_good else {})}
    row = insert(conn, drift_looks).values(binding=binding, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[drift_looks.c.binding], set_=values))


def _open(conn: sa.Connection, binding: str, found: Difference, good_at: datetime, now: datetime) -> Drift:
    drift = Drift(binding, found.what, now, found.got, found.want, good_at, now, None, "")
    row = {"binding": binding, "what": found.what, "found_at": now, "got": found.got, "want": found.want}
    conn.execute(sa.insert(drifts).values(**row, good_at=good_at, seen_at=now))
    events.append(conn, "binding.drifted", now=now, subject=binding, detail=_detail(drift))
    return drift


def _keep(conn: sa.Connection, binding: str, whats: Collection[str], now: datetime) -> None:
    if whats:
        same = sa.and_(drifts.c.binding == binding, drifts.c.what.in_(tuple(whats)), _OPEN)
        conn.execute(sa.update(drifts).where(same).values(seen_at=now))


def _close(conn: sa.Connection, drift: Drift, how: str, now: datetime) -> None:
    mine = sa.and_(drifts.c.binding == drift.binding, drifts.c.what == drift.what, _OPEN)
    conn.execute(sa.update(drifts).where(mine).values(closed_at=now, closed=how))


def _detail(drift: Drift) -> dict[str, object]:
    seen = {"good_at": drift.good_at.isoformat(), "found_at": drift.found_at.isoformat()}
    return {"what": drift.what, "got": drift.got, "want": drift.want, **seen}
