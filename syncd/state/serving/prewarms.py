"""Prewarmed instances of releases, and the scaling settings of aliases before they moved.

A row is committed before anything is set, and deleted after it is gone: after any crash the record knows
of every instance that may exist.
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
    """The prewarm of an alias of a binding."""
    return fetch_one(conn, Prewarm, sa.select(warmths).where(_key(binding, alias)))


def own(conn: sa.Connection, wanted: Prewarm) -> Prewarm:
    """Make the release the owner of the prewarm. One of an earlier release is taken over, with its previous settings.

    Repeating it for the same release changes nothing.

    Raises:
        NotYet: It is being removed; it can be created again when it is gone.
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
        raise NotYet(f"{found.function}:{found.alias}: the instances of {found.release_id} are being released")
    return taken


def due(conn: sa.Connection, now: datetime) -> list[Prewarm]:
    """Prewarms that no release needs any more: it has ended, and the time after going live is over."""
    ended = sa.select(warmths, releases.c.phase, releases.c.updated_at).join_from(warmths, releases, _of_release())
    ended = ended.where(releases.c.phase.in_(tuple(RELEASE_ENDS))).order_by(warmths.c.binding, warmths.c.alias)
    found = []
    for row in conn.execute(ended).mappings():
        values = dict(row)
        phase, at = values.pop("phase"), values.pop("updated_at")
        prewarm = Prewarm(**values)
        if prewarm.cooling or phase is not ReleasePhase.LIVE or at + timedelta(seconds=prewarm.kept_s) <= now:
            found.append(prewarm)
    return found


def releasing(conn: sa.Connection, prewarm: Prewarm) -> bool:
    """Mark it as being removed; False if another release has taken it over meanwhile."""
    query = sa.update(warmths).where(_key(prewarm.binding, prewarm.alias), warmths.c.release_id == prewarm.release_id)
    return conn.execute(query.values(cooling=True)).rowcount > 0


def released(conn: sa.Connection, prewarm: Prewarm, now: datetime) -> None:
    """Record that it is gone. Repeating it is harmless."""
    if not conn.execute(sa.delete(warmths).where(_key(prewarm.binding, prewarm.alias), warmths.c.cooling)).rowcount:
        return
    detail: dict[str, object] = {"alias": prewarm.alias}
    events.append(
        conn, "warmth.removed", now=now, release_id=prewarm.release_id, subject=prewarm.binding, detail=detail
    )


def note_scaling(
    conn: sa.Connection, release_id: str, binding: str, settings: Mapping[str, Mapping[str, object]]
) -> None:
    """Record the scaling settings of a binding's alias. The newest record before the flip counts."""
    conn.execute(sa.delete(scalings).where(_kept(release_id, binding)))
    if settings:
        insert_new(conn, scalings, release_id=release_id, binding=binding, settings=dict(settings))


def kept_scalings(conn: sa.Connection) -> list[KeptScaling]:
    """All recorded settings, by release."""
    return fetch_all(conn, KeptScaling, sa.select(scalings).order_by(scalings.c.release_id, scalings.c.binding))


def compared(conn: sa.Connection, kept: KeptScaling) -> None:
    """Record that the settings were checked after the flip and are unchanged."""
    conn.execute(sa.update(scalings).where(_kept(kept.release_id, kept.binding)).values(compared=True))


def forget_scaling(conn: sa.Connection, kept: KeptScaling) -> None:
    """Delete recorded settings."""
    conn.execute(sa.delete(scalings).where(_kept(kept.release_id, kept.binding)))


def _key(binding: str, alias: str) -> sa.ColumnElement[bool]:
    return sa.and_(warmths.c.binding == binding, warmths.c.alias == alias)


def _kept(release_id: str, binding: str) -> sa.ColumnElement[bool]:
    return sa.and_(scalings.c.release_id == release_id, scalings.c.binding == binding)


def _of_release() -> sa.ColumnElement[bool]:
    return warmths.c.release_id == releases.c.id


def _values(prewarm: Prewarm) -> dict[str, object]:
    return {column.name: getattr(prewarm, column.name) for column in warmths.c}
