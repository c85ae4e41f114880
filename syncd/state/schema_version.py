"""Whether a record is at this syncd's tables: asked at the start of every command, so without Alembic."""

from __future__ import annotations

from typing import Final

from syncd.errors import Invalid
from syncd.state.db.url import sqlite_file
from syncd.state.state import State

NEWEST: Final = "0001"  # the last of migrations/versions; a test holds the two together
_QUERY: Final = "SELECT version_num FROM syncd_schema"


def check(state: State) -> None:
    """Look at the record's level; what differs is explained by `state.upgrade.check`, which takes longer.

    Raises:
        Invalid: The tables are missing, older or newer; the hint says what to run.
        Unavailable: The database cannot be reached.
    """
    if _found(state) == [NEWEST]:
        return
    from syncd.state import upgrade  # noqa: PLC0415 -- Alembic, only to say what is wrong

    upgrade.check(state.url.render_as_string(hide_password=False))


def _found(state: State) -> list[str]:
    file = sqlite_file(state.url)
    if file is not None and not file.exists():
        return []  # looking must not make an empty database
    try:
        with state.read() as conn:
            return [str(number) for (number,) in conn.exec_driver_sql(_QUERY)]
    except Invalid:  # no such table
        return []
