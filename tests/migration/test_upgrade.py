"""Migrations and `state.schema` say the same, from whatever a database is upgraded, by however many at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import syncd
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from syncd.engine.upgrade import create, upgrade
from syncd.errors import Invalid, Unavailable
from syncd.state import schema_version
from syncd.state import upgrade as record
from syncd.state.db.schema import metadata
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import State, make_engine

from tests.support.databases import at

MIGRATIONS = ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011"]


def test_an_empty_database_gets_every_migration_once(empty_database_url: str) -> None:
    assert record.current(empty_database_url) is None
    assert create(empty_database_url) == MIGRATIONS
    assert record.current(empty_database_url) == record.newest() == MIGRATIONS[-1]
    assert create(empty_database_url) == []
    assert upgrade(empty_database_url) == []
    record.check(empty_database_url)


def test_autogenerate_finds_nothing_to_do(database_url: str) -> None:
    options: dict[str, Any] = {}

    class Recorder:
        @staticmethod
        def configure(**given: Any) -> None:
            options.update(given)

    engine = make_engine(parse(database_url))
    with engine.connect() as conn:
        record.configure(Recorder, conn)
        context = MigrationContext.configure(conn, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_an_upgrade_makes_no_record(empty_database_url: str) -> None:
    for _ in range(2):
        with pytest.raises(Invalid, match="no record") as refused:
            upgrade(empty_database_url)
        assert "syncd db create" in refused.value.hint
    assert record.current(empty_database_url) is None
    file = sqlite_file(parse(empty_database_url))
    assert file is None or not file.exists()


def test_upgrading_equals_creating_down_to_checks_and_partial_indexes(empty_database_url: str) -> None:
    record.create(empty_database_url)
    upgraded = make_engine(parse(empty_database_url))
    migrated = _described(upgraded)
    with upgraded.begin() as conn:
        metadata.drop_all(conn)
        metadata.create_all(conn)
    assert _described(upgraded) == migrated
    upgraded.dispose()


def _described(engine: sa.Engine) -> Mapping[str, Any]:
    inspector = sa.inspect(engine)
    return {
        table: {
            "columns": [{**column, "type": str(column["type"])} for column in inspector.get_columns(table)],
            "checks": sorted(inspector.get_check_constraints(table), key=str),
            "indexes": sorted(map(_index, inspector.get_indexes(table))),
            "unique": sorted(inspector.get_unique_constraints(table), key=str),
            "foreign": sorted(inspector.get_foreign_keys(table), key=str),
            "primary": inspector.get_pk_constraint(table),
        }
        for table in metadata.tables
    }


def _index(found: Mapping[str, Any]) -> str:
    options = {key: str(value) for key, value in found.get("dialect_options", {}).items()}
    return str((found["name"], found["column_names"], found["unique"], sorted(options.items())))


def test_a_database_without_a_record_is_refused_with_what_to_run(empty_database_url: str) -> None:
    with pytest.raises(Invalid, match="no record") as caught:
        record.check(empty_database_url)
    assert "syncd db create" in caught.value.hint


def test_looking_makes_no_file(tmp_path: Path) -> None:
    assert record.current(f"sqlite:///{tmp_path / 'state.db'}") is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_newer_syncd_is_refused(empty_database_url: str) -> None:
    record.create(empty_database_url)
    engine = make_engine(parse(empty_database_url))
    with engine.begin() as conn:
        conn.execute(sa.text(f"UPDATE {record.VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    for act in (record.check, record.upgrade):
        with pytest.raises(Invalid, match="9999") as caught:
            act(empty_database_url)
        assert "newer syncd" in caught.value.hint


def test_the_engines_tables_are_left_alone(database_url: str) -> None:
    engine = make_engine(parse(database_url))
    with engine.connect() as conn:
        schema = "" if conn.dialect.name == "sqlite" else "dbos."
        assert conn.execute(sa.text(f"SELECT count(*) FROM {schema}workflow_status")).scalar_one() == 0
    engine.dispose()
    assert not record.ours("workflow_status", "table", {})
    assert record.ours("steps", "table", {})


def test_two_processes_that_upgrade_at_once_both_succeed(empty_database_url: str) -> None:
    program = f"from syncd.engine.upgrade import create; print(create({empty_database_url!r}))"
    root = Path(syncd.__file__).parent.parent
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert sorted(out.strip() for out, _ in ends) == [str(MIGRATIONS), "[]"]
    record.check(empty_database_url)


def test_a_migration_that_fails_leaves_nothing_behind(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "migrations"
    shutil.copytree(record._directory(), copy)
    first = copy / "versions" / "0001_first_record.py"
    first.write_text(first.read_text().replace("    _flips()\n", "    _flips()\n    raise KeyError('half way')\n"))
    monkeypatch.setattr(record, "_directory", lambda: copy)
    with pytest.raises(KeyError):
        record.create(empty_database_url)
    assert record.current(empty_database_url) is None
    monkeypatch.undo()
    assert record.create(empty_database_url) == MIGRATIONS


def test_an_installed_package_brings_its_migrations(tmp_path: Path) -> None:
    """The wheel puts them inside the package; a copy laid out like it upgrades a database."""
    root = Path(syncd.__file__).parent
    shutil.copytree(root, tmp_path / "syncd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root.parent / "migrations", tmp_path / "syncd" / "migrations")
    program = f"from syncd.engine.upgrade import create; print(create('sqlite:///{tmp_path}/state.db'))"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == str(MIGRATIONS)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        upgrade(f"postgresql:///syncd?host={tmp_path}")


def test_a_database_that_is_not_there_is_a_wrong_url(postgresql_server: str) -> None:
    with pytest.raises(Invalid, match="does not exist"):
        upgrade(at(postgresql_server, "nobody_made_this"))


def _checked(url: str) -> None:
    """As every command does."""
    with closing(State(url)) as state:
        schema_version.check(state)


def _noted(url: str) -> dict[str, str]:
    engine = make_engine(parse(url))
    with engine.connect() as conn:
        found = {str(name): str(value) for name, value in conn.execute(sa.text("SELECT name, value FROM record_info"))}
    engine.dispose()
    return found


def _become(url: str, number: str, oldest: str) -> None:
    """As a later syncd leaves the record: its number, and the note that goes with it."""
    engine = make_engine(parse(url))
    with engine.begin() as conn:
        conn.execute(sa.text(f"UPDATE {record.VERSION_TABLE} SET version_num = '{number}'"))
        conn.execute(sa.text(f"UPDATE record_info SET value = '{number}' WHERE name = 'schema'"))
        conn.execute(sa.text(f"UPDATE record_info SET value = '{oldest}' WHERE name = 'oldest_schema'"))
    engine.dispose()


def test_a_record_says_its_schema_and_the_oldest_code_that_may_work_on_it(empty_database_url: str) -> None:
    record.create(empty_database_url)
    noted = _noted(empty_database_url)
    assert (noted["schema"], noted["oldest_schema"]) == (record.newest(), "0009")


def test_code_that_is_too_old_refuses_by_name_and_code_that_is_not_works_on(empty_database_url: str) -> None:
    record.create(empty_database_url)
    _become(empty_database_url, "9009", record.newest())
    record.check(empty_database_url)
    assert record.upgrade(empty_database_url) == []
    _checked(empty_database_url)
    _become(empty_database_url, "9009", "9007")
    for act in (record.check, record.upgrade, _checked):
        with pytest.raises(
            Invalid, match="only a syncd of schema 9007 or newer may work on it; this is syncd"
        ) as caught:
            act(empty_database_url)
        assert "restore the copy of the record from before it was upgraded" in caught.value.hint


# What each migration made, taken away again, newest first.
UNDONE = {
    "0011": ("ALTER TABLE tokens DROP COLUMN limits",),
    "0010": ("DROP TABLE workers",),
    "0009": ("DROP TABLE removals", "DROP TABLE leases", "DROP TABLE proofs"),
    "0008": ("DROP TABLE verdicts", "DROP TABLE waivers", "DROP TABLE event_links"),
    "0007": ("ALTER TABLE load_times DROP COLUMN stages",),
    "0006": ("DROP TABLE notifiers", "DROP TABLE dead_letters"),
    "0005": ("ALTER TABLE contents DROP COLUMN leaves",),
    "0004": (
        "DROP TABLE left_behind",
        "DROP INDEX ix_releases_unfinished",
        "DROP INDEX ix_flips_binding",
        "DROP INDEX ix_versions_quarantined",
    ),
    "0003": ("DROP TABLE repairs", "DELETE FROM record_info WHERE name IN ('schema', 'oldest_schema')"),
}


@pytest.mark.parametrize("earlier", MIGRATIONS[1:-1])
def test_a_record_of_each_earlier_schema_is_upgraded_with_what_is_in_it(empty_database_url: str, earlier: str) -> None:
    record.create(empty_database_url)
    engine = make_engine(parse(empty_database_url))
    with engine.begin() as conn:  # as it was left then, with the reason that a person waits for
        for number in (number for number in UNDONE if number > earlier):
            for statement in UNDONE[number]:
                conn.execute(sa.text(statement))
        if earlier >= "0003":
            conn.execute(
                sa.text(f"UPDATE record_info SET value = '{earlier}' WHERE name IN ('schema', 'oldest_schema')")
            )
        row = {"name": "automatic_releases_off", "value": "target hz has sdxl@v1", "at": 1}
        conn.execute(sa.text("INSERT INTO record_info (name, value, at) VALUES (:name, :value, :at)"), row)
        conn.execute(sa.text(f"UPDATE {record.VERSION_TABLE} SET version_num = '{earlier}'"))
    engine.dispose()
    with pytest.raises(Invalid, match=f"has schema {earlier}, this syncd needs {MIGRATIONS[-1]}"):
        record.check(empty_database_url)
    assert record.upgrade(empty_database_url) == MIGRATIONS[MIGRATIONS.index(earlier) + 1 :]
    noted = _noted(empty_database_url)
    assert noted["automatic_releases_off"] == "target hz has sdxl@v1"
    assert (noted["schema"], noted["oldest_schema"]) == (MIGRATIONS[-1], "0009")
    _checked(empty_database_url)
