"""The database's own clock: the one clock that all processes share, whatever their machines believe."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa


def now(conn: sa.Connection) -> datetime:
    """The time now, not that of the transaction's beginning: to the millisecond on SQLite, else the microsecond."""
    if conn.dialect.name == "sqlite":
        text: str = conn.execute(sa.text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    found: datetime = conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return found.astimezone(UTC)
