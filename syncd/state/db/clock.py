"""The database's clock: the only clock that all processes share, independent of their machines' clocks."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa


def now(conn: sa.Connection) -> datetime:
    """The current time, not the start of the transaction: milliseconds on SQLite, microseconds elsewhere."""
    if conn.dialect.name == "sqlite":
        text: str = conn.execute(sa.text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    found: datetime = conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return found.astimezone(UTC)
