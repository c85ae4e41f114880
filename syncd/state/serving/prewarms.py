"""Warmth: instances that are held ready for a release, and what hung on aliases before they moved.

A row of a warmth is committed before anything is put, and removed after it is gone: after any crash the record knows
of every instance that may be out there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from syncd.errors import NotYet
from syncd.plan.phases import RELEASE_ENDS, ReleasePhase
from syncd.state.db.rows import fetch_all, fetch_one, insert_new
from syncd.state.db.schema import releases
from syncd.state.db.schema_serving import scalings, warmths
from syncd.state.records import KeptScaling, Prewarm
from syncd.state.releases import events


def find(conn: sa.Connection, binding: str, alias: str) -> Prewarm | None:
    """What is held ready on an alias of a binding."""
    return fetch_one(conn, Prewarm, sa.select(warmths).where(_key(binding, alias)))


def own(conn: sa.Connection, wanted: Prewarm) -> Prewarm:
    """Have the release own the warmth. One of an earlier release is taken over, with what hung there before it.

    Repeating it for the same release changes nothing.

    Raises:
        NotYet: It is being removed; it can be put anew when it is gone.
    """
    found = find(conn, wanted.binding, wanted.alias)
    if found is None:
        insert_new(conn, warmths, **_values(wanted))
        detail: dict[str, object] = {"alias": wanted.alias, "instances": wanted.instances}
        events.append(
            conn, "warmth.wanted", now=wanted.since, release_id=wanted.release_id, subject=wanted.binding, detail=detail
        )
        return wanted
    if found.release_id == wanted.release_id and not found.cooling:
        return found
    taken = replace(wanted, before=found.before)
    query = sa.update(warmths).where(_key(wanted.binding, wanted.alias), ~warmths.c.cooling)
    if not conn.execute(query.values(**_values(taken))).rowcount:
        raise NotYet(f"{found.function}:{found.alias}: the instances of {found.release_id} are being let go")
    return taken


def due(conn: sa.Connection, now: datetime) -> list[Prewarm]:
    """What no release needs any more: it has ended, and the time is over for which it stays after going live."""
    ended = sa.select(warmths, releases.c.phase, releases.c.updated_at).join_from(warmths, releases, _of_release())
    ended = ended.where(releases.c.phase.in_(tuple(RELEASE_ENDS))).order_by(warmths.c.binding, warmths.c.alias)
    found = []
    for row in conn.execute(ended).mappings():
        values = dict(row)
        phase, at = values.pop("phase"), values.pop("updated_at")
        warmth = Prewarm(**values)
        if warmth.cooling or phase is not ReleasePhase.LIVE or at + timedelta(seconds=warmth.kept_s) <= now:
            found.append(warmth)
    return found


def releasing(conn: sa.Connection, warmth: Prewarm) -> bool:
    """Mark it as being removed; False where another release has taken it over meanwhile."""
    query = sa.update(warmths).where(_key(warmth.binding, warmth.alias), warmths.c.release_id == warmth.release_id)
    return conn.execute(query.values(cooling=True)).rowcount > 0


def released(conn: sa.Connection, warmth: Prewarm, now: datetime) -> None:
    """Say that nothing of it is left. Repeating it is harmless."""
    if not conn.execute(sa.delete(warmths).where(_key(warmth.binding, warmth.alias), warmths.c.cooling)).rowcount:
        return
    detail: dict[str, object] = {"alias": warmth.alias}
    events.append(conn, "warmth.removed", now=now, release_id=warmth.release_id, subject=warmth.binding, detail=detail)


def note_scaling(
    conn: sa.Connection, release_id: str, binding: str, settings: Mapping[str, Mapping[str, object]]
) -> None:
    """Remember what hangs on a binding's alias. The newest note before the flip counts."""
    conn.execute(sa.delete(scalings).where(_kept(release_id, binding)))
    if settings:
        insert_new(conn, scalings, release_id=release_id, binding=binding, settings=dict(settings))


def kept_scalings(conn: sa.Connection) -> list[KeptScaling]:
    """All notes, by release."""
    return fetch_all(conn, KeptScaling, sa.select(scalings).order_by(scalings.c.release_id, scalings.c.binding))


def compared(conn: sa.Connection, kept: KeptScaling) -> None:
    """Say that it was looked at after the flip, and is as it was."""
    conn.execute(sa.update(scalings).where(_kept(kept.release_id, kept.binding)).values(compared=True))


def forget_scaling(conn: sa.Connection, kept: KeptScaling) -> None:
    """It is not needed any more."""
    conn.execute(sa.delete(scalings).where(_kept(kept.release_id, kept.binding)))


def _key(binding: str, alias: str) -> sa.ColumnElement[bool]:
    return sa.and_(warmths.c.binding == binding, warmths.c.alias == alias)


def _kept(release_id: str, binding: str) -> sa.ColumnElement[bool]:
    return sa.and_(scalings.c.release_id == release_id, scalings.c.binding == binding)


def _of_release() -> sa.ColumnElement[bool]:
    return warmths.c.release_id == releases.c.id


def _values(warmth: Prewarm) -> dict[str, object]:
    return {column.name: getattr(warmth, column.name) for column in warmths.c}
