"""Conversion between rows and records."""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

Record = TypeVar("Record")


def fetch_one(conn: sa.Connection, record: type[Record], query: sa.sql.Executable) -> Record | None:
    """The first row of `query` as a record whose fields have the names of its columns; None without rows."""
    row = conn.execute(query).mappings().first()
    return None if row is None else record(**row)


def fetch_all(conn: sa.Connection, record: type[Record], query: sa.sql.Executable) -> list[Record]:
    """All rows of `query` as records whose fields have the names of its columns."""
    return [record(**row) for row in conn.execute(query).mappings()]


def insert(conn: sa.Connection, table: sa.Table) -> Any:
    """An INSERT of this database's dialect: both have `on_conflict_do_nothing` and `_do_update`, spelt alike."""
    if conn.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 -- a tenth of a command's start, for those who have it

    return postgresql.insert(table)


def insert_new(conn: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert a row; False if a row with the same unique values exists.

    A concurrent writer of such a row is waited for. Not every driver reports the row count of an INSERT, so a
    column is returned instead.
    """
    query = insert(conn, table).values(**values).on_conflict_do_nothing().returning(sa.literal_column("1"))
    return conn.execute(query).first() is not None
