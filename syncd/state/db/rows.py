"""Rows and records: column types that both databases compare alike, queries, and the database's clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeDecorator

from syncd.artifact.digest import Digest

Record = TypeVar("Record")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def fetch_one(conn: sa.Connection, record: type[Record], query: sa.sql.Executable) -> Record | None:
    """The first row of `query` as a record whose fields have the names of its columns; None without rows."""
    row = conn.execute(query).mappings().first()
    return None if row is None else record(**row)


def fetch_all(conn: sa.Connection, record: type[Record], query: sa.sql.Executable) -> list[Record]:
    """All rows of `query` as records whose fields have the names of its columns."""
    return [record(**row) for row in conn.execute(query).mappings()]


def among(conn: sa.Connection, column: sa.ColumnElement[str], values: Iterable[str]) -> sa.ColumnElement[bool]:
    """The condition that a text column has one of these values: one parameter, however many values there are.

    SQLite takes at most 32 766 parameters, PostgreSQL 65 535, and a statement of another length is planned anew.
    """
    listed = sa.bindparam("among", list(values), type_=sa.JSON, unique=True)
    if conn.dialect.name == "sqlite":
        return column.in_(sa.select(sa.func.json_each(listed).table_valued("value").c.value))
    every = sa.func.json_array_elements_text(sa.cast(listed, sa.JSON))
    return column.in_(sa.select(every.table_valued("value").c.value))


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


def now(conn: sa.Connection) -> datetime:
    """The current time by the database's clock, the only one that all processes share; milliseconds on SQLite.

    Not the start of the transaction.
    """
    if conn.dialect.name == "sqlite":
        text: str = conn.execute(sa.text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    found: datetime = conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return found.astimezone(UTC)


class TimestampType(TypeDecorator[datetime]):
    """An aware time, stored as microseconds since 1970 in UTC: SQLite has no type of its own for times."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> int | None:
        """Raises ValueError for a time without a zone: it would be off by hours on some machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> datetime | None:
        return None if value is None else _EPOCH + value * _MICROSECOND


class EnumType(TypeDecorator[StrEnum]):
    """A value of an enum, stored as text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, words: type[StrEnum] = StrEnum) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: StrEnum | None, _dialect: sa.Dialect) -> str | None:
        return None if value is None else self.words(value).value

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> StrEnum | None:
        return None if value is None else self.words(value)


class JsonType(TypeDecorator[Any]):
    """JSON; on PostgreSQL its binary kind. That dialect is loaded only when that database is used."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(sa.JSON())
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return dialect.type_descriptor(postgresql.JSONB())


class Sha256(TypeDecorator[Digest]):
    """A digest, stored as 64 hex digits."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Digest | None, _dialect: sa.Dialect) -> str | None:
        return None if value is None else value.hex

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> Digest | None:
        return None if value is None else Digest(value)


class ChecksumType(TypeDecorator[int]):
    """A CRC-64, stored as 16 hex digits: both databases' integers are signed and too small for half of them."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: int | None, _dialect: sa.Dialect) -> str | None:
        return None if value is None else f"{value:016x}"

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> int | None:
        return None if value is None else int(value, 16)
