"""Column kinds of the record's tables, and their common metadata."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from syncd.state.db.rows import EnumType, JsonType, TimestampType

metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def text(name: str, *args: Any, default: str | None = None, nullable: bool = False) -> sa.Column[str]:
    """Text, NOT NULL by default."""
    empty = sa.text("''")  # as SQLite reports it; Alembic would see a difference in ""
    return sa.Column(name, sa.Text, *args, nullable=nullable, server_default=empty if default == "" else default)


def timestamp(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    """A timestamp column."""
    return sa.Column(name, TimestampType, nullable=nullable)


def enum_column(name: str, words: type[StrEnum], first: StrEnum | None = None) -> sa.Column[Any]:
    """A column with the values of an enum; `first` is its default."""
    return sa.Column(name, EnumType(words), nullable=False, server_default=None if first is None else first.value)


def only(column: str, words: type[StrEnum]) -> sa.CheckConstraint:
    """A check constraint: the database refuses every other value."""
    listed = ", ".join(f"'{word.value}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def count(name: str, default: str | None = "0") -> sa.Column[int]:
    """A number, 0 by default."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=default)


def json(name: str) -> sa.Column[Any]:
    """A JSON object, empty by default."""
    return sa.Column(name, JsonType, nullable=False, server_default="{}")


def unique_where(name: str, where: str, *of: sa.Column[Any]) -> sa.Index:
    """A unique index over the rows that meet the condition."""
    return index_where(name, where, *of, unique=True)


def index_where(name: str, where: str, *of: sa.Column[Any], unique: bool = False) -> sa.Index:
    """An index over the rows that meet the condition. A query uses it if it has the condition in the same words."""
    index = sa.Index(name, *of, unique=unique, sqlite_where=sa.text(where))

    # Stating it for PostgreSQL loads that dialect: a twentieth of every command's start-up time. A process that
    # creates the tables of such a database has loaded it anyway.
    @sa.event.listens_for(metadata, "before_create")
    def say_it_for_postgresql(_metadata: sa.MetaData, conn: sa.Connection, **_: object) -> None:
        if conn.dialect.name == "postgresql":
            index.dialect_kwargs["postgresql_where"] = sa.text(where)

    return index
