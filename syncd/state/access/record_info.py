"""Record information: properties of the record itself, such as whether automatic releases are on.

A record that was created where functions, aliases or targets already had content of syncd may lack the holds of
the record before it. Until a person runs `adopt-world`, nothing is released from it automatically.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.state.db.rows import insert
from syncd.state.db.schema import record_info
from syncd.state.releases import events

AUTOMATIC: Final = "automatic_releases_off"  # the reason; "" or absent: automatic releases are on
ADOPT_HINT: Final = "run: syncd db adopt-world"


def automatic_off(conn: sa.Connection) -> str:
    """Why automatic releases (polls, webhooks, backfills, new base images) are off; "" where they are on."""
    found = conn.execute(sa.select(record_info.c.value).where(record_info.c.name == AUTOMATIC)).scalar()
    return str(found or "")


def switch_automatic_off(conn: sa.Connection, reason: str, now: datetime) -> None:
    """Stop automatic releases until `switch_automatic_on`. Requests of people and pipelines continue."""
    _put(conn, reason, now)
    events.append(conn, "automatic_releases.stopped", now=now, detail={"reason": reason})


def switch_automatic_on(conn: sa.Connection, who: str, now: datetime) -> bool:
    """Resume automatic releases. False if they were on."""
    if not automatic_off(conn):
        return False
    _put(conn, "", now)
    events.append(conn, "automatic_releases.resumed", now=now, detail={"who": who})
    return True


def _put(conn: sa.Connection, value: str, now: datetime) -> None:
    values = {"value": value, "at": now}
    row = insert(conn, record_info).values(name=AUTOMATIC, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[record_info.c.name], set_=values))
