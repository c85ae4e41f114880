"""Rows of a record as plain values, in and out of a database: the same in SQLite, PostgreSQL and a file."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from syncd.state.db.rows import JsonType, TimestampType
from syncd.state.db.tables import ORDERED

_BATCH: Final = 500
_BATCH_OF_BINARIES: Final = 16  # a value is up to some MB
_INTEGERS: Final = range(-(1 << 63), 1 << 63)

Row = dict[str, Any]
Numbered = tuple[int, Row]  # a row with the number of its line


class UnfitRowError(ValueError):
    """A row that the table cannot have. The line's number is `number`."""

    def __init__(self, number: int, what: str) -> None:
        self.number = number
        super().__init__(what)


def count(conn: sa.Connection, table: sa.Table) -> int:
    """The number of rows."""
    return int(conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def read(conn: sa.Connection, table: sa.Table) -> Iterator[Row]:
    """Every row in the order of the primary key, as values that JSON has; a batch of them is in memory."""
    plain = _plain(table)
    order = [plain.c[column.name] for column in table.primary_key]
    options = {"stream_results": True, "yield_per": batch_of(table)}
    binary = [column.name for column in table.columns if _is_binary(column)]
    for found in conn.execute(sa.select(*plain.c).order_by(*order), execution_options=options).mappings():
        row = dict(found)
        for name in binary:
            row[name] = None if row[name] is None else base64.b64encode(row[name]).decode()
        yield row


def decoded(table: sa.Table, number: int, row: Mapping[str, Any]) -> Row:
    """The values for the database. Raises UnfitRowError: columns or types are not the table's."""
    names = {column.name for column in table.columns}
    if row.keys() != names:
        odd = ", ".join(sorted(row.keys() ^ names))
        raise UnfitRowError(number, f"the columns of {table.name} are not those of this schema: {odd}")
    try:
        return {column.name: _decoded(column, row[column.name]) for column in table.columns}
    except ValueError as error:
        raise UnfitRowError(number, f"{table.name}: {error}") from error


def write(conn: sa.Connection, table: sa.Table, rows: Sequence[Numbered]) -> None:
    """Insert rows. Raises UnfitRowError for the first that the database refuses; then only a rollback is left."""
    statement = sa.insert(_plain(table))
    try:
        with conn.begin_nested():
            conn.execute(statement, [row for _, row in rows])
    except (exc.DataError, exc.IntegrityError, ValueError) as error:
        for number, row in rows:  # to name the line
            _write_one(conn, statement, table, number, row)
        raise UnfitRowError(rows[0][0], f"{table.name}: {_said(error)}") from error


def _write_one(conn: sa.Connection, statement: sa.Insert, table: sa.Table, number: int, row: Row) -> None:
    try:
        with conn.begin_nested():
            conn.execute(statement, row)
    except (exc.DataError, exc.IntegrityError, ValueError) as error:
        raise UnfitRowError(number, f"the database refuses this row of {table.name}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def sequences(conn: sa.Connection) -> dict[str, int]:
    """The highest number that was ever assigned, of each table that numbers its rows; it is never given again."""
    return {table.name: _highest(conn, table) for table in _numbering()}


def set_sequences(conn: sa.Connection, highest: Mapping[str, int]) -> None:
    """Have each table continue above `highest`, and above the rows that it has."""
    for table in _numbering():
        column = table.primary_key.columns[0]
        there = conn.execute(sa.select(sa.func.coalesce(sa.func.max(column), 0))).scalar_one()
        value = max(highest.get(table.name, 0), int(there))
        if conn.dialect.name == "sqlite":
            conn.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
            values = {"name": table.name, "value": value}
            conn.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :value)"), values)
        else:
            values = {"name": _sequence(conn, table), "value": max(value, 1), "used": value > 0}
            conn.execute(sa.text("SELECT setval(cast(:name AS regclass), :value, :used)"), values)


def lock(conn: sa.Connection) -> None:
    """Keep other writers out of every table until the transaction ends. On SQLite every `write` does."""
    if conn.dialect.name != "sqlite":
        names = ", ".join(f'"{table.name}"' for table in ORDERED)
        conn.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")


def batch_of(table: sa.Table) -> int:
    """How many rows are in memory at once."""
    return _BATCH_OF_BINARIES if any(map(_is_binary, table.columns)) else _BATCH


def _numbering() -> Iterable[sa.Table]:
    return [table for table in ORDERED if table.autoincrement_column is not None]


def _highest(conn: sa.Connection, table: sa.Table) -> int:
    if conn.dialect.name == "sqlite":
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(conn.execute(query, {"name": table.name}).scalar() or 0)
    last = sa.text("SELECT pg_sequence_last_value(cast(:name AS regclass))")
    return int(conn.execute(last, {"name": _sequence(conn, table)}).scalar() or 0)


def _sequence(conn: sa.Connection, table: sa.Table) -> str:
    values = {"name": table.name, "column": table.primary_key.columns[0].name}
    return str(conn.execute(sa.text("SELECT pg_get_serial_sequence(:name, :column)"), values).scalar_one())


def _plain(table: sa.Table) -> sa.TableClause:
    """The table with the types that the database stores: digests, times and phases are text and numbers there."""
    return sa.table(table.name, *(sa.column(column.name, _plain_type(column)) for column in table.columns))


def _plain_type(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    if isinstance(column.type, JsonType | sa.LargeBinary | sa.Boolean):
        return column.type
    return sa.BigInteger() if isinstance(column.type, sa.Integer | TimestampType) else sa.Text()


def _is_binary(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.LargeBinary)


def _decoded(column: sa.Column[Any], value: Any) -> Any:
    kind = _plain_type(column)
    if isinstance(kind, JsonType):
        return value
    if value is None and column.nullable:
        return None
    if isinstance(kind, sa.LargeBinary) and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{column.name} is not base64") from error
    expected = bool if isinstance(kind, sa.Boolean) else int if isinstance(kind, sa.BigInteger) else str
    if type(value) is not expected or (expected is int and value not in _INTEGERS):
        raise ValueError(f"{column.name}: expected {_words(kind)}, got {str(value)[:60]!r}")
    return value


def _words(kind: sa.types.TypeEngine[Any]) -> str:
    if isinstance(kind, sa.Boolean):
        return "true or false"
    return "an integer of 64 bits" if isinstance(kind, sa.BigInteger) else "text"
