"""Webhook deliveries. A row is kept after its poll, so that a repeated delivery is recognised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from syncd.state.db import changes
from syncd.state.db.rows import fetch_all, insert_new
from syncd.state.db.schema import deliveries
from syncd.state.records import Delivery

KEPT: Final = timedelta(days=2)  # senders repeat within a day


@dataclass(frozen=True, slots=True)
class KeptDelivery:
    """A delivery as the record keeps it. `looked_at` is None until its poll has ended."""

    hook: str
    registry: str
    subject: str
    place: str
    ref: str
    received_at: datetime
    looked_at: datetime | None


def record(conn: sa.Connection, received: Sequence[Delivery], now: datetime) -> int:
    """Record deliveries and return how many are new. A known (hook, id) stays unchanged."""
    changes.mark(conn)
    return sum(insert_new(conn, deliveries, **asdict(each), received_at=now) for each in received)


def claim(conn: sa.Connection, registry: str, claim: str, model: str | None = None) -> int:
    """Claim the unpolled deliveries of a model for the poll `claim`, and return how many it did not have yet.

    With `model` None, claim those of the whole registry; with "", those without a model. A poll that never ends
    loses nothing: the next one claims the same deliveries again.
    """
    mine = sa.and_(_unseen(registry), _about(model), deliveries.c.claim != claim)
    return conn.execute(sa.update(deliveries).where(mine).values(claim=claim)).rowcount


def waiting(conn: sa.Connection, registry: str, claims: Collection[str], most: int) -> list[tuple[str, str]]:
    """Places and refs that none of the polls in `claims` has claimed, without duplicates, at most `most`."""
    free = sa.and_(_unseen(registry), deliveries.c.claim.not_in(claims))
    query = sa.select(deliveries.c.place, deliveries.c.ref).distinct().where(free).limit(most)
    return [(place, ref) for place, ref in conn.execute(query)]


def claimed(conn: sa.Connection, registry: str, claim: str, most: int) -> list[tuple[str, str]]:
    """Places and refs that the poll `claim` covers, without duplicates, at most `most`."""
    mine = sa.and_(_unseen(registry), deliveries.c.claim == claim)
    query = sa.select(deliveries.c.place, deliveries.c.ref).distinct().where(mine).limit(most)
    return [(place, ref) for place, ref in conn.execute(query)]


def mark_polled(conn: sa.Connection, registry: str, claim: str, now: datetime) -> None:
    """Mark the deliveries of the poll `claim` as polled. Deliveries that came after the claim are not touched."""
    mine = sa.and_(_unseen(registry), deliveries.c.claim == claim)
    conn.execute(sa.update(deliveries).where(mine).values(looked_at=now))


def mark_ignored(conn: sa.Connection, registry: str, places: Collection[str], now: datetime) -> None:
    """Mark the deliveries about these places as done without a poll."""
    theirs = sa.and_(_unseen(registry), deliveries.c.place.in_(places))
    conn.execute(sa.update(deliveries).where(theirs).values(looked_at=now))


def unpolled(conn: sa.Connection, registry: str) -> list[Delivery]:
    """Unpolled deliveries of a registry, oldest first."""
    columns = [deliveries.c[field.name] for field in fields(Delivery)]
    query = sa.select(*columns).where(_unseen(registry)).order_by(deliveries.c.received_at, deliveries.c.id)
    return fetch_all(conn, Delivery, query)


def newest(conn: sa.Connection, limit: int) -> list[KeptDelivery]:
    """The newest deliveries about all registries, newest first."""
    columns = [deliveries.c[field.name] for field in fields(KeptDelivery)]
    query = sa.select(*columns).order_by(deliveries.c.received_at.desc(), deliveries.c.id).limit(limit)
    return fetch_all(conn, KeptDelivery, query)


def is_waiting(conn: sa.Connection, registry: str) -> bool:
    """Whether a registry has unpolled deliveries."""
    return conn.execute(sa.select(sa.literal(1)).where(_unseen(registry)).limit(1)).first() is not None


def forget(conn: sa.Connection, received_before: datetime, registries: Collection[str]) -> int:
    """Delete older deliveries that need no poll, and return how many.

    Those that wait for a poll of one of `registries` stay, however old they look: the wall clock may have been stepped,
    and the registry may have been unavailable since. A registry that is not among them is never polled.
    """
    done = sa.or_(deliveries.c.looked_at.is_not(None), deliveries.c.registry.not_in(registries))
    return conn.execute(sa.delete(deliveries).where(deliveries.c.received_at < received_before, done)).rowcount


def _about(model: str | None) -> sa.ColumnElement[bool]:
    """Compare by characters: LIKE ignores case on SQLite."""
    if model is None:
        return sa.true()
    if not model:
        return deliveries.c.place == ""
    below = f"{model}/"
    return sa.or_(deliveries.c.place == model, sa.func.substr(deliveries.c.place, 1, len(below)) == below)


def _unseen(registry: str) -> sa.ColumnElement[bool]:
    return sa.and_(deliveries.c.registry == registry, deliveries.c.looked_at.is_(None))
