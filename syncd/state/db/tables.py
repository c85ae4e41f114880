"""Table check: whether a database has every table and column that this syncd reads and writes."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from syncd.errors import Invalid
from syncd.state.db import schema, schema_fleet, schema_images, schema_keeping, schema_serving, schema_trust
from syncd.state.db.url import sqlite_file

# Importing them fills the metadata.
_ALL: Final = (schema, schema_fleet, schema_images, schema_keeping, schema_serving, schema_trust)
_SQLITE: Final = "SELECT m.name, p.name FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table'"
_POSTGRESQL: Final = (
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
)
_SHOWN: Final = 3
ORDERED: Final = tuple(schema.metadata.sorted_tables)  # every table, after those that it refers to
SCHEMA_NOTE: Final = "schema"  # in `record_info`: the schema number that the note below was written with
OLDEST_NOTE: Final = "oldest_schema"  # the oldest schema number whose syncd may work on the record


def oldest_code(conn: sa.Connection, number: str) -> str:
    """The oldest schema number whose syncd may work on a record of schema `number`; "" where the record has no note.

    A note that was written with another schema number says nothing about this one.
    """
    if not sa.inspect(conn).has_table(schema.record_info.name):
        return ""
    table = schema.record_info.c
    found = conn.execute(sa.select(table.name, table.value).where(table.name.in_((SCHEMA_NOTE, OLDEST_NOTE))))
    notes = {str(name): str(value) for name, value in found}
    return notes.get(OLDEST_NOTE, "") if notes.get(SCHEMA_NOTE) == number else ""


def check(url: sa.URL, conn: sa.Connection) -> None:
    """Compare tables and columns with the schema in one statement.

    Raises:
        Invalid: Some are missing although the record has this syncd's schema number: another build wrote it.
    """
    query = _SQLITE if conn.dialect.name == "sqlite" else _POSTGRESQL
    there = {(str(table), str(column)) for table, column in conn.exec_driver_sql(query)}
    expected = {(table.name, column.name) for table in schema.metadata.tables.values() for column in table.columns}
    missing = sorted(expected - there)
    if not missing:
        return
    shown = ", ".join(f"{table}.{column}" for table, column in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    file = sqlite_file(url)
    aside = f"mv {file} {file}.aside" if file is not None else "pg_dump it, and give syncd an empty database"
    raise Invalid(
        f"{url.render_as_string(hide_password=True)} lacks {shown}{more}:"
        " its tables are not those of its schema number, so another build of syncd wrote it",
        hint=f"set it aside ({aside}), then: syncd db create; syncd db adopt-world",
    )
