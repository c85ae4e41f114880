"""Load times: how long first answers took, one row a release and binding, never changed."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, insert_new
from syncd.state.db.schema_serving import load_times
from syncd.state.records import LoadTime


def note(conn: sa.Connection, time: LoadTime) -> None:
    """Record a first answer, in the transaction that records its success. The first record stays."""
    insert_new(conn, load_times, **asdict(time))


def of_release(conn: sa.Connection, release_id: str) -> list[LoadTime]:
    """The first answers of a release, ordered by binding."""
    query = sa.select(load_times).where(load_times.c.release_id == release_id)
    return fetch_all(conn, LoadTime, query.order_by(load_times.c.binding))


def of_version(conn: sa.Connection, version_id: str) -> list[LoadTime]:
    """Every first answer of a version, by region and kind of target, oldest first."""
    query = sa.select(load_times).where(load_times.c.version_id == version_id)
    return fetch_all(conn, LoadTime, query.order_by(load_times.c.region, load_times.c.target_kind, load_times.c.at))
