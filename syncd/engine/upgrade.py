"""Schema of a whole database: the record's tables, then the engine's."""

from __future__ import annotations

from syncd.engine.dbos import create_tables
from syncd.state import upgrade as record


def create(url: str) -> list[str]:
    """`state.upgrade.create`, and then the engine's tables under the same lock. Repeating it is success.

    Raises:
        Unavailable: The database cannot be reached, or another process has held it for long.
        Invalid: The URL is wrong, the tables there are not a record's, or SQLite is too old.
    """
    return record.create(url, engine_tables=create_tables)


def upgrade(url: str) -> list[str]:
    """`state.upgrade.upgrade`, and then the engine's own migrations under the same lock. Repeating it is success.

    Raises:
        Unavailable: The database cannot be reached, or another process has held it for long.
        Invalid: There is no record, the URL is wrong, the database is newer than this syncd, or SQLite is too old.
    """
    return record.upgrade(url, engine_tables=create_tables)
