"""On SQLite a migration changes a table by copying it: the copy has all that the table had."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import syncd.state.upgrade as record
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import event
from syncd.state.db.schema import metadata
from syncd.state.upgrade import changed_table

VERSIONS = Path(record._directory()) / "versions"


@pytest.fixture
def conn(sqlite_template: Path, tmp_path: Path) -> Iterator[sa.Connection]:
    """Within a migration of a SQLite record, where foreign keys are off."""
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA foreign_keys=OFF"))
    with engine.begin() as conn, Operations.context(MigrationContext.configure(conn)):
        yield conn
    engine.dispose()


def _described(conn: sa.Connection, table: str) -> list[str]:
    """The columns, constraints and indexes of a table as SQLite keeps them, without their order."""
    rows = conn.execute(
        sa.text("SELECT sql FROM sqlite_master WHERE tbl_name = :table AND sql IS NOT NULL"), {"table": table}
    ).scalars()
    plain = [re.sub(r"\s+", " ", str(sql).replace('"', "").replace("DEFAULT ('')", "DEFAULT ''")) for sql in rows]
    created = [sql for sql in plain if sql.startswith("CREATE TABLE")]
    assert len(created) == 1
    parts = re.split(r",(?![^(]*\))", created[0].partition("(")[2].rpartition(")")[0])
    return sorted([*(part.strip() for part in parts), *(sql for sql in plain if not sql.startswith("CREATE TABLE"))])


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_a_table_that_is_copied_is_the_same_down_to_its_autoincrement(conn: sa.Connection, table: str) -> None:
    before = _described(conn, table)
    with changed_table(table, recreate="always"):
        pass
    assert _described(conn, table) == before


def test_the_ids_of_deleted_rows_are_not_given_again_after_a_copy(conn: sa.Connection) -> None:
    (table,) = (each for each in metadata.tables.values() if each.dialect_options["sqlite"]["autoincrement"])
    values = [{"at": number, "kind": "hold.put"} for number in range(3)]
    conn.execute(sa.text(f"INSERT INTO {table.name} (at, kind) VALUES (:at, :kind)"), values)
    conn.execute(sa.text(f"DELETE FROM {table.name} WHERE id = 3"))
    with changed_table(table.name, recreate="always"):
        pass
    conn.execute(sa.text(f"INSERT INTO {table.name} (at, kind) VALUES (:at, :kind)"), values[0])
    assert conn.execute(sa.text(f"SELECT max(id) FROM {table.name}")).scalar_one() == 4


def test_migrations_copy_tables_by_what_keeps_autoincrement() -> None:
    """Alembic's own `batch_alter_table` drops it without a word."""
    direct = [path.name for path in VERSIONS.glob("*.py") if re.search(r"\bop\.batch_alter_table\(", path.read_text())]
    assert direct == []
