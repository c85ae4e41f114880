"""Idempotency keys: a client that repeats a request gets the release of the first one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.errors import Conflict
from syncd.state.db.rows import insert_new
from syncd.state.db.schema import idempotency_keys as keys

KEPT: Final = timedelta(days=2)


def claim(conn: sa.Connection, who: str, key: str, body: Digest, now: datetime) -> str | None:
    """Take a key for the request `body`; the id of the release requested with it before, None if the key is new.

    A concurrent request with the same key waits for this transaction, and then gets its release.

    Raises:
        Conflict: The key was used for another request.
    """
    if insert_new(conn, keys, who=who, key=key, body=body, asked_at=now):
        return None
    return find(conn, who, key, body)


def find(conn: sa.Connection, who: str, key: str, body: Digest) -> str | None:
    """The id of the release requested with a key before; None if the key is new.

    Raises:
        Conflict: The key was used for another request.
    """
    known = conn.execute(sa.select(keys.c.body, keys.c.release_id).where(_key(who, key))).first()
    if known is None:
        return None
    if known.body != body:
        raise Conflict(f"the idempotency key {key!r} was used with another body", hint="use a new key for each request")
    return str(known.release_id)


def is_known(conn: sa.Connection, who: str, key: str) -> bool:
    """Whether a request used this key."""
    return conn.execute(sa.select(sa.literal(1)).where(_key(who, key))).first() is not None


def settle(conn: sa.Connection, who: str, key: str, release_id: str) -> None:
    """Record the release of a key, in the transaction that claimed the key."""
    conn.execute(sa.update(keys).where(_key(who, key)).values(release_id=release_id))


def forget(conn: sa.Connection, asked_before: datetime) -> int:
    """Delete older keys and return how many."""
    return conn.execute(sa.delete(keys).where(keys.c.asked_at < asked_before)).rowcount


def _key(who: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(keys.c.who == who, keys.c.key == key)
