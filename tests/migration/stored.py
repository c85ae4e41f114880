"""Stored records of older commits, and where the migrations since then have put what is in them."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import make_engine

RECORDS: Final = Path(__file__).parent / "records"
Row = dict[str, Any]
Tables = dict[str, list[Row]]
_NONE: Final[Mapping[Any, Any]] = MappingProxyType({})


@dataclass(frozen=True)
class Changes:
    """What one migration does to rows that were there. Tables and columns are named as they are after it.

    New tables and new columns need no entry.
    """

    tables: Mapping[str, str] = field(default_factory=dict)  # before: after
    columns: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (table, column before): column after
    values: Mapping[tuple[str, str], Callable[[Any], Any]] = field(default_factory=dict)  # by (table, column)

    def applied(self, rows: Tables) -> Tables:
        return {
            (name := self.tables.get(table, table)): [self._row(name, row) for row in found]
            for table, found in rows.items()
        }

    def _row(self, table: str, row: Row) -> Row:
        renamed = {self.columns.get((table, column), column): value for column, value in row.items()}
        return {
            column: self.values[table, column](value) if (table, column) in self.values else value
            for column, value in renamed.items()
        }


# By the revision that does it, in their order. A migration that renames or converts something adds an entry here.
CHANGES: Final[Mapping[str, Changes]] = {}


def stored(commit: str, kind: str) -> str:
    """The SQL text of a record of a commit, for a kind of database."""
    return gzip.decompress((RECORDS / commit / f"{kind}.sql.gz").read_bytes()).decode()


def load(commit: str, url: str) -> None:
    """Fill the empty database at `url` with a stored record."""
    parsed = parse(url)
    file = sqlite_file(parsed)
    more = (RECORDS / commit / "under-way.sql").read_text()
    if file is not None:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.executescript(stored(commit, "sqlite") + more)
        return
    # Lines that begin with a backslash are for psql, which is not needed here.
    lines = [line for line in stored(commit, "postgresql").splitlines() if not line.startswith("\\")]
    for text in ("\n".join(lines), more):
        with psycopg.connect(_plain(parsed), autocommit=True) as server:
            server.execute(text.encode())


def _plain(url: sa.URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def rows_of(url: str) -> Tables:
    """Every row of every table that is not the engine's, as the database has it."""
    engine = make_engine(parse(url))
    try:
        with engine.connect() as conn:
            names = [name for name in sa.inspect(conn).get_table_names() if not _is_engines(name)]
            return {name: _rows(conn, name) for name in names}
    finally:
        engine.dispose()


def _rows(conn: sa.Connection, table: str) -> list[Row]:
    found = conn.execute(sa.text(f'SELECT * FROM "{table}"')).mappings()
    return sorted((dict(row) for row in found), key=repr)


def _is_engines(table: str) -> bool:
    """On SQLite its tables lie beside the record's; on PostgreSQL they have a schema of their own."""
    return table in _ENGINES or table == "syncd_schema"


_ENGINES: Final = frozenset(
    [
        "application_versions",
        "dbos_migrations",
        "notifications",
        "operation_outputs",
        "queues",
        "streams",
        "workflow_events",
        "workflow_events_history",
        "workflow_input",
        "workflow_output",
        "workflow_schedules",
        "workflow_status",
    ]
)


def after(rows: Tables, revisions: Sequence[str]) -> Tables:
    """What the rows must be after these migrations have run."""
    return reduce(lambda found, revision: CHANGES.get(revision, Changes()).applied(found), revisions, rows)
