"""Schema version of a record: checked at the start of every command, so without Alembic."""

from __future__ import annotations

from typing import Final

from syncd.errors import Invalid
from syncd.state.db import tables
from syncd.state.db.url import sqlite_file
from syncd.state.state import State, no_record

NEWEST: Final = "0011"  # the last of migrations/versions; a test compares the two
_QUERY: Final = "SELECT version_num FROM syncd_schema"


def check(state: State) -> None:
    """Check the record's schema number, its tables and its columns.

    Raises:
        Invalid: The record does not exist, its schema is older, it is newer and needs a newer syncd, or its tables do
            not match its number; the hint has the way out.
        Unavailable: The database cannot be reached.
    """
    found = _found(state)
    if not found:
        raise no_record(state.url)
    if found != [NEWEST]:
        from syncd.state import upgrade  # noqa: PLC0415 -- Alembic, only to describe the error

        upgrade.check(state.url.render_as_string(hide_password=False))
    with state.read() as conn:
        tables.check(state.url, conn)


def check_equal(state: State) -> None:
    """Check that the record has this syncd's schema number: of a newer one it does not know every column.

    Raises:
        Invalid: It has another.
        Unavailable: The database cannot be reached.
    """
    found = _found(state)
    if found != [NEWEST]:
        shown = state.url.render_as_string(hide_password=True)
        hint = "use the syncd that upgraded the record"
        raise Invalid(f"{shown} has schema {', '.join(found) or 'none'}, this syncd is of schema {NEWEST}", hint=hint)


def _found(state: State) -> list[str]:
    file = sqlite_file(state.url)
    if file is not None and not file.exists():
        return []
    try:
        with state.read() as conn:
            return [str(number) for (number,) in conn.exec_driver_sql(_QUERY)]
    except Invalid as error:
        if "no such table" in error.message or "does not exist" in error.message:
            return []
        raise
