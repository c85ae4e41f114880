"""Fixtures that give a test a database of its own: SQLite always, and a real PostgreSQL beside it.

Each worker of a test run starts one PostgreSQL server, on a socket in its own directory. A database is upgraded once
and emptied after each test, or copied (SQLite), so that a fresh one costs milliseconds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
import sqlalchemy as sa
from syncd.engine.upgrade import create
from syncd.state.state import State

from tests.support.directories import in_memory, quick_directory
from tests.support.lengths import LONG

DATABASES: Final = ("sqlite", "postgresql")
_numbers = itertools.count(1)

# Whoever is still connected goes first: TRUNCATE would wait for him. What was migrated stays so. TRUNCATE makes a new
# file for each table, so that it costs as much for an empty one: those are left alone.
_EMPTY: Final = (
    (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ),
    """DO $$ DECLARE name text; filled text[] := '{}'; is_filled boolean; BEGIN
         FOR name IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
           WHERE schemaname IN ('public', 'dbos') AND tablename NOT IN ('syncd_schema', 'dbos_migrations') LOOP
           EXECUTE 'SELECT EXISTS (SELECT 1 FROM ' || name || ')' INTO is_filled;
           IF is_filled THEN filled := filled || name; END IF;
         END LOOP;
         IF cardinality(filled) > 0 THEN
           EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ') || ' CASCADE';
         END IF;
         FOR name IN SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences
           WHERE last_value IS NOT NULL LOOP
           EXECUTE 'ALTER SEQUENCE ' || name || ' RESTART';
         END LOOP;
       END $$""",
)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server without the name of a database. Slow promises of durability are off."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pgserver.postgres_server import get_server
    directory = Path(tempfile.mkdtemp(prefix="syncd-pg-", dir=in_memory()))
    directory.chmod(0o755)  # run by root, the server is another user
    server = get_server(directory / "data", cleanup_mode="delete")
    _admin(server.get_uri(), "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off")
    _admin(server.get_uri(), "SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that was upgraded."""
    file = tmp_path_factory.mktemp("template") / "state.db"
    create(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: str) -> str:
    """The URL of a PostgreSQL database that was upgraded; `database_url` empties it after each test."""
    _admin(postgresql_server, "CREATE DATABASE syncd")
    url = at(postgresql_server, "syncd")
    create(url)
    return url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an upgraded database that no other test sees; a test that asks for it runs once on each kind."""
    yield from _upgraded(request)


@pytest.fixture(params=DATABASES if LONG else DATABASES[:1])
def usual_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same for tests that are not about SQL: on SQLite, and in `make long` on each kind."""
    yield from _upgraded(request)


def _upgraded(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        with quick_directory() as home:
            shutil.copyfile(request.getfixturevalue("sqlite_template"), home / "state.db")
            yield f"sqlite:///{home / 'state.db'}"
        return
    url: str = request.getfixturevalue("postgresql_database")
    yield url
    _admin(url, *_EMPTY)


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database in which nothing is yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    with new_postgresql(request.getfixturevalue("postgresql_server")) as url:
        yield url


@pytest.fixture
def state(database_url: str) -> Iterator[State]:
    """The record in a database of its own, by the database's clock."""
    state = State(database_url)
    yield state
    state.close()


@pytest.fixture
def usual_state(usual_database_url: str) -> Iterator[State]:
    """The record in the database of `usual_database_url`."""
    state = State(usual_database_url)
    yield state
    state.close()


@contextlib.contextmanager
def new_postgresql(server: str) -> Iterator[str]:
    """An empty database, dropped at the end whoever is still connected."""
    name = f"t_{os.getpid()}_{next(_numbers)}"
    _admin(server, f"CREATE DATABASE {name}")
    try:
        yield at(server, name)
    finally:
        _admin(server, f"DROP DATABASE {name} WITH (FORCE)")


def at(server: str, database: str) -> str:
    """The URL of another database of the same server."""
    return sa.make_url(server).set(database=database).render_as_string(hide_password=False)


def _admin(server: str, *statements: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
