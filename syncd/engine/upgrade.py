"""Brings a whole database up: the record's tables, then the engine's."""

from __future__ import annotations

from syncd.engine.dbos import create_tables
from syncd.state import upgrade as record


def upgrade(url: str) -> list[str]:
    """`state.upgrade.upgrade`, and the engine's own migrations after it under the same lock. Repeating is success.

    Raises:
        Unavailable: The database cannot be reached, or is locked by somebody else for long.
        Invalid: The URL is wrong, the database is newer than this syncd, or SQLite is too old.
    """
    return record.upgrade(url, engine_tables=create_tables)
