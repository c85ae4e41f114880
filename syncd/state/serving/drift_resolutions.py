"""Mends: bindings that are being put back to what the record says. Meanwhile no release may claim them.

A release and a mend exclude each other though they are rows of two tables: a mend begins under a lock that keeps
claims out, and a claim looks for mends after its rows are in.
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
    """Claim `bindings` (the subject among them) for putting the subject back. All or none.

    Raises:
        Conflict: A release holds one of them, or another mend does.
    """
    block_claims(conn)
    check_not_busy(conn, bindings)
    row = {"subject": subject, "attempt": 1, "who": who, "why": why, "expects": expects}
    until = now + timedelta(seconds=lease_s)
    for binding in sorted(bindings):
        if not insert_new(conn, resolutions, binding=binding, **row, began_at=now, lease_until=until):
            raise Conflict(f"{binding} is being put back already")
    return DriftResolution(subject, **row, began_at=now, lease_until=until)  # type: ignore[arg-type]


def block_claims(conn: sa.Connection) -> None:
    """Until the end of the transaction no alias is claimed by anybody else. On SQLite there is one writer anyway."""
    if conn.dialect.name != "sqlite":
        conn.execute(sa.text("LOCK TABLE flips IN SHARE ROW EXCLUSIVE MODE"))


def check_not_busy(conn: sa.Connection, bindings: Collection[str]) -> None:
    """Raises Conflict where a release or a mend holds one of the bindings."""
    for binding in sorted(bindings):
        release = flips.holder(conn, binding)
        if release is not None:
            raise Conflict(
                f"{release} holds the alias of {binding}", hint=f"`syncd show {release}`; try again when it has ended"
            )
        mend = find(conn, binding)
        if mend is not None:
            told = f"{mend.subject} is being put back by {mend.who} since {mend.began_at:%Y-%m-%d %H:%M:%S}Z"
            raise Conflict(told, hint="if that was broken off, `syncd run` goes on with it, and so does repeating it")


def find(conn: sa.Connection, binding: str) -> DriftResolution | None:
    """The mend that holds a binding."""
    return fetch_one(conn, DriftResolution, sa.select(resolutions).where(resolutions.c.binding == binding))


def going(conn: sa.Connection) -> list[DriftResolution]:
    """All mends, by their subjects."""
    query = sa.select(resolutions).where(resolutions.c.binding == resolutions.c.subject).order_by(resolutions.c.subject)
    return fetch_all(conn, DriftResolution, query)


def take_over(conn: sa.Connection, subject: str, lease_s: float, now: datetime) -> DriftResolution | None:
    """Go on with a mend whose worker has been silent for longer than its lease; None where there is no such one.

    A lease that ends later than `lease_s` from now is from before the clock was set back, and counts as over.
    """
    until = now + timedelta(seconds=lease_s)
    over = sa.or_(resolutions.c.lease_until <= now, resolutions.c.lease_until > until)
    mine = sa.and_(resolutions.c.subject == subject, over)
    values = {"attempt": resolutions.c.attempt + 1, "lease_until": until}
    taken = fetch_all(
        conn, DriftResolution, sa.update(resolutions).where(mine).values(**values).returning(*resolutions.c)
    )
    return next((mend for mend in taken if mend.binding == subject), None)


def renew(conn: sa.Connection, mend: DriftResolution, lease_s: float, now: datetime) -> None:
    """Keep a mend for `lease_s` seconds more.

    Raises:
        Fenced: Somebody has gone on with it, or ended it.
    """
    query = sa.update(resolutions).where(_owned_by(mend)).values(lease_until=now + timedelta(seconds=lease_s))
    if not conn.execute(query).rowcount:
        raise Fenced(f"somebody else goes on with putting back {mend.subject}")


def end(conn: sa.Connection, mend: DriftResolution) -> None:
    """Let go of the bindings.

    Raises:
        Fenced: Somebody has gone on with it, or ended it.
    """
    if not conn.execute(sa.delete(resolutions).where(_owned_by(mend))).rowcount:
        raise Fenced(f"somebody else goes on with putting back {mend.subject}")


def _owned_by(mend: DriftResolution) -> sa.ColumnElement[bool]:
    return sa.and_(
        resolutions.c.subject == mend.subject,
        resolutions.c.attempt == mend.attempt,
        resolutions.c.began_at == mend.began_at,
    )
