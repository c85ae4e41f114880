"""The lock for writing of a SQLite record: another program that keeps it stops every release, and every heartbeat."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final

import sqlalchemy as sa

from syncd.state.db.url import sqlite_file

_WAIT_S: Final = 1.0  # syncd's own transactions take milliseconds


def holder_hint(url: sa.URL) -> str | None:
    """What to do where another program keeps the record from being written; None where none does.

    Takes the lock itself for a moment. None for PostgreSQL, and for a record that cannot be opened at all.
    """
    file = sqlite_file(url)
    if file is None:
        return None
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", timeout=_WAIT_S, uri=True)) as record:
            record.isolation_level = None
            record.execute("BEGIN IMMEDIATE")
            record.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return f"end the program that holds it: `fuser -v {file}` lists those that have it open"
    except sqlite3.DatabaseError:  # damaged: what reads it says so
        return None
    return None
