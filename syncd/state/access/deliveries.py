"""What registries told us by webhook: kept until it was looked at, and then so that a repetition is known as one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, insert_new
from syncd.state.db.schema import deliveries
from syncd.state.records import Delivery

KEPT: Final = timedelta(days=2)  # senders repeat within a day


def record(conn: sa.Connection, told: Sequence[Delivery], now: datetime) -> int:
    """Remember what was told; how much of it is new. What is known by its hook and id stays as it is."""
    return sum(insert_new(conn, deliveries, **asdict(each), received_at=now) for each in told)


def claim(conn: sa.Connection, registry: str, claim: str, model: str | None = None) -> int:
    """Mark what was told of a model and is not looked at yet as seen by the look `claim`; how much is new to it.

    Of a registry's models together, where `model` is None; with "" what names none. A look that never ends loses
    nothing: the next one claims the same again.
    """
    mine = sa.and_(_unseen(registry), _about(model), deliveries.c.claim != claim)
    return conn.execute(sa.update(deliveries).where(mine).values(claim=claim)).rowcount


def waiting(conn: sa.Connection, registry: str, looks: Collection[str], most: int) -> list[tuple[str, str]]:
    """The places and refs that no look of `looks` has claimed, each once: at most so many of them."""
    free = sa.and_(_unseen(registry), deliveries.c.claim.not_in(looks))
    query = sa.select(deliveries.c.place, deliveries.c.ref).distinct().where(free).limit(most)
    return [(place, ref) for place, ref in conn.execute(query)]


def claimed(conn: sa.Connection, registry: str, claim: str, most: int) -> list[tuple[str, str]]:
    """The places and refs that the look `claim` is about, each once: at most so many of them."""
    mine = sa.and_(_unseen(registry), deliveries.c.claim == claim)
    query = sa.select(deliveries.c.place, deliveries.c.ref).distinct().where(mine).limit(most)
    return [(place, ref) for place, ref in conn.execute(query)]


def mark_polled(conn: sa.Connection, registry: str, claim: str, now: datetime) -> None:
    """The look `claim` has ended well. What came after it began is not touched."""
    mine = sa.and_(_unseen(registry), deliveries.c.claim == claim)
    conn.execute(sa.update(deliveries).where(mine).values(looked_at=now))


def mark_ignored(conn: sa.Connection, registry: str, places: Collection[str], now: datetime) -> None:
    """What was told of these places needs no look."""
    theirs = sa.and_(_unseen(registry), deliveries.c.place.in_(places))
    conn.execute(sa.update(deliveries).where(theirs).values(looked_at=now))


def mark_unseen(conn: sa.Connection, registry: str) -> list[Delivery]:
    """What was told of a registry and not looked at yet, oldest first."""
    columns = [deliveries.c[field.name] for field in fields(Delivery)]
    query = sa.select(*columns).where(_unseen(registry)).order_by(deliveries.c.received_at, deliveries.c.id)
    return fetch_all(conn, Delivery, query)


def is_waiting(conn: sa.Connection, registry: str) -> bool:
    """Whether something was told of a registry that was not looked at yet."""
    return conn.execute(sa.select(sa.literal(1)).where(_unseen(registry)).limit(1)).first() is not None


def forget(conn: sa.Connection, received_before: datetime) -> int:
    """Drop what is older and say how much that was: looked at or not, for polls have looked since."""
    return conn.execute(sa.delete(deliveries).where(deliveries.c.received_at < received_before)).rowcount


def _about(model: str | None) -> sa.ColumnElement[bool]:
    """By characters and not by LIKE, to which SQLite's cases are alike."""
    if model is None:
        return sa.true()
    if not model:
        return deliveries.c.place == ""
    below = f"{model}/"
    return sa.or_(deliveries.c.place == model, sa.func.substr(deliveries.c.place, 1, len(below)) == below)


def _unseen(registry: str) -> sa.ColumnElement[bool]:
    return sa.and_(deliveries.c.registry == registry, deliveries.c.looked_at.is_(None))
