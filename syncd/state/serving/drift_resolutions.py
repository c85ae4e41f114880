"""Drift resolutions: bindings that are being restored to the record. Meanwhile no release may claim them.

A release and a resolution exclude each other though they are rows of two tables: a resolution begins under a lock
that blocks claims, and a claim checks for resolutions after its rows are in.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy as sa

from syncd.errors import Conflict, Fenced
from syncd.state.db.rows import fetch_all, fetch_one, insert_new
from syncd.state.db.schema_serving import resolutions
from syncd.state.records import DriftResolution
from syncd.state.serving import flips


def begin(  # noqa: PLR0913 -- one argument a column
    conn: sa.Connection,
    subject: str,
    bindings: Collection[str],
    *,
    who: str,
    why: str,
    expects: str | None,
    lease_s: float,
    now: datetime,
) -> DriftResolution:
    """Claim `bindings` (the subject among them) for restoring the subject. All or none.

    Raises:
        Conflict: A release holds one of them, or another resolution does.
    """
    block_claims(conn)
    check_not_busy(conn, bindings)
    row = {"subject": subject, "attempt": 1, "who": who, "why": why, "expects": expects}
    until = now + timedelta(seconds=lease_s)
    for binding in sorted(bindings):
        if not insert_new(conn, resolutions, binding=binding, **row, began_at=now, lease_until=until):
            raise Conflict(f"{binding} is being restored already")
    return DriftResolution(subject, **row, began_at=now, lease_until=until)  # type: ignore[arg-type]


def block_claims(conn: sa.Connection) -> None:
    """Block new claims of aliases until the end of the transaction. SQLite has one writer anyway."""
    if conn.dialect.name != "sqlite":
        conn.execute(sa.text("LOCK TABLE flips IN SHARE ROW EXCLUSIVE MODE"))


def check_not_busy(conn: sa.Connection, bindings: Collection[str]) -> None:
    """Raises Conflict if a release or a resolution holds one of the bindings."""
    for binding in sorted(bindings):
        release = flips.holder(conn, binding)
        if release is not None:
            raise Conflict(
                f"{release} holds the alias of {binding}", hint=f"`syncd show {release}`; try again when it has ended"
            )
        resolution = find(conn, binding)
        if resolution is not None:
            since = f"{resolution.began_at:%Y-%m-%d %H:%M:%S}Z"
            raise Conflict(
                f"{resolution.subject} is being restored by {resolution.who} since {since}",
                hint="if it was interrupted, `syncd run` continues it, and so does repeating it",
            )


def find(conn: sa.Connection, binding: str) -> DriftResolution | None:
    """The resolution that holds a binding."""
    return fetch_one(conn, DriftResolution, sa.select(resolutions).where(resolutions.c.binding == binding))


def all(conn: sa.Connection) -> dict[str, DriftResolution]:  # noqa: A001 -- read as `drift_resolutions.all`
    """The resolution that holds each binding that one holds."""
    return {each.binding: each for each in fetch_all(conn, DriftResolution, sa.select(resolutions))}


def unfinished(conn: sa.Connection) -> list[DriftResolution]:
    """All resolutions, ordered by subject."""
    query = sa.select(resolutions).where(resolutions.c.binding == resolutions.c.subject).order_by(resolutions.c.subject)
    return fetch_all(conn, DriftResolution, query)


def take_over(conn: sa.Connection, subject: str, lease_s: float, now: datetime) -> DriftResolution | None:
    """Take over a resolution whose lease has expired; None if there is none.

    A lease that ends later than `lease_s` from now is from before the clock was set back, and counts as over.
    """
    until = now + timedelta(seconds=lease_s)
    over = sa.or_(resolutions.c.lease_until <= now, resolutions.c.lease_until > until)
    mine = sa.and_(resolutions.c.subject == subject, over)
    values = {"attempt": resolutions.c.attempt + 1, "lease_until": until}
    taken = fetch_all(
        conn, DriftResolution, sa.update(resolutions).where(mine).values(**values).returning(*resolutions.c)
    )
    return next((resolution for resolution in taken if resolution.binding == subject), None)


def renew(conn: sa.Connection, resolution: DriftResolution, lease_s: float, now: datetime) -> None:
    """Renew the lease of a resolution to `lease_s` seconds from now.

    Raises:
        Fenced: Another process has continued it, or ended it.
    """
    query = sa.update(resolutions).where(_owned_by(resolution)).values(lease_until=now + timedelta(seconds=lease_s))
    if not conn.execute(query).rowcount:
        raise Fenced(f"another process restores {resolution.subject}")


def end(conn: sa.Connection, resolution: DriftResolution) -> None:
    """Release the bindings.

    Raises:
        Fenced: Another process has continued it, or ended it.
    """
    if not conn.execute(sa.delete(resolutions).where(_owned_by(resolution))).rowcount:
        raise Fenced(f"another process restores {resolution.subject}")


def _owned_by(resolution: DriftResolution) -> sa.ColumnElement[bool]:
    return sa.and_(
        resolutions.c.subject == resolution.subject,
        resolutions.c.attempt == resolution.attempt,
        resolutions.c.began_at == resolution.began_at,
    )
