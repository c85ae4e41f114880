"""Record schema: creates a record, upgrades one, and checks that its tables match its number."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa
from alembic import command, op
from alembic.config import Config
from alembic.operations import BatchOperations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import syncd
from syncd.errors import Invalid, Unavailable
from syncd.state.db import tables
from syncd.state.db.filelock import locked_file
from syncd.state.db.schema import metadata
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import UPGRADE_HINT, make_engine, no_record, translate_errors

VERSION_TABLE: Final = "syncd_schema"  # not Alembic's own name: the database may be shared
_LOCK: Final = 0x73796E63  # "sync": PostgreSQL's advisory locks are numbers
_LOCK_WAIT_S: Final = 300
_LOCK_POLL_S: Final = 0.1


def create(url: str, *, engine_tables: Callable[[sa.URL], None] | None = None) -> list[str]:
    """Create a record in an empty database, or nothing where one exists. Returns the migrations that ran, in order.

    A SQLite file gets mode 0600, a missing directory is created with mode 0700. Two processes at once wait for
    each other. `engine_tables` creates the engine's tables after that, under the same lock.

    Raises:
        Unavailable: The database cannot be reached, or another process has held it for long.
        Invalid: The URL is wrong, or the tables there are not a record's.
    """
    parsed = parse(url)
    file = sqlite_file(parsed)
    if file is not None:
        _make_private(file)
    with translate_errors(parsed), _locked(parsed, create=True) as conn:
        if _heads(conn):
            return []
        return _migrated(parsed, conn, engine_tables)


def upgrade(url: str, *, engine_tables: Callable[[sa.URL], None] | None = None) -> list[str]:
    """Bring an existing record to the newest tables. Returns the migrations that ran, in order.

    It never creates a record: an unmounted disk must not become an empty one. Repeating it is success and runs
    none. Two processes at once wait for each other. Each migration is one transaction: after a failure the database is
    as the one before left it. `engine_tables` migrates the engine's own tables after that, under the same lock.

    Raises:
        Invalid: There is no record, the URL is wrong, a newer syncd is needed for the record, or its tables do not
            match its number.
    """
    parsed = parse(url)
    file = sqlite_file(parsed)
    if file is not None and not file.exists():
        raise no_record(parsed)
    with translate_errors(parsed), _locked(parsed) as conn:
        before = _heads(conn)
        if not before:
            raise no_record(parsed)
        if _is_newer(before):
            _check_code(parsed, conn, before[0])
            return []
        if before == (newest(),):
            tables.check(parsed, conn)
            conn.rollback()
        return _migrated(parsed, conn, engine_tables)


def _migrated(url: sa.URL, conn: sa.Connection, engine_tables: Callable[[sa.URL], None] | None) -> list[str]:
    before = _heads(conn)
    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
    conn.commit()
    if engine_tables is not None:
        engine_tables(url)
    return _between(before)


def _make_private(file: Path) -> None:
    """A record has requesters and token hashes, so only its owner may read it.

    A directory or an empty file that exists keeps its mode. A link is followed only to a file that exists.
    """
    try:
        for directory in reversed([each for each in (file.parent, *file.parent.parents) if not each.exists()]):
            directory.mkdir(mode=0o700, exist_ok=True)
        if not file.exists():
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno == errno.ELOOP:
            hint = "remove it, or make the file that it leads to"
            raise Invalid(f"{file} is a symbolic link that leads nowhere", hint=hint) from error
        raise Invalid(f"{file}: {error.strerror}", hint="check the directory of the database and its owner") from error


def current(url: str) -> str | None:
    """The migration of the database; None for one that was never upgraded, or a file that does not exist.

    Raises:
        Unavailable: The database cannot be reached.
        Invalid: The URL is wrong.
    """
    parsed = parse(url)
    file = sqlite_file(parsed)
    if file is not None and not file.exists():
        return None  # reading must not create an empty database
    with translate_errors(parsed), _connected(parsed) as conn:
        conn.execution_options(syncd_reads=True)
        return next(iter(_heads(conn)), None)


def check(url: str) -> None:
    """Check that this syncd may work on the record: it has this schema, or a newer one that says so.

    Raises:
        Invalid: It may not; the hint has the way out.
    """
    found, expected = current(url), newest()
    if found == expected:
        return
    parsed = parse(url)
    if found is None:
        raise no_record(parsed)
    if _is_newer((found,)):
        with translate_errors(parsed), _connected(parsed) as conn:
            conn.execution_options(syncd_reads=True)
            _check_code(parsed, conn, found)
        return
    shown = parsed.render_as_string(hide_password=True)
    raise Invalid(f"{shown} has schema {found}, this syncd needs {expected}", hint=UPGRADE_HINT)


def newest() -> str:
    """The last migration of this syncd."""
    head = _script().get_current_head()
    if head is None:
        raise Invalid("this installation of syncd has no migrations", hint="install syncd again")
    return head


def configure(context: Any, connection: sa.Connection) -> None:
    """Configure Alembic, for migrations and for the test that compares the tables with them."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_name=ours,
        include_schemas=False,
        compare_type=True,
        compare_server_default=True,
        render_as_batch=True,  # SQLite changes a column by copying its table
        transaction_per_migration=True,
    )


@contextlib.contextmanager
def changed_table(name: str, *, recreate: Literal["auto", "always"] = "auto") -> Iterator[BatchOperations]:
    """Alembic's `batch_alter_table` for migrations, which keeps AUTOINCREMENT.

    SQLite changes a column by copying its table, and Alembic does not see AUTOINCREMENT in what it copies: the ids of
    deleted rows would be given again. The highest id that was ever given is kept, too.
    """
    conn = op.get_bind()
    if conn.dialect.name != "sqlite" or not _counts(conn, name):
        with op.batch_alter_table(name, recreate=recreate) as batch:
            yield batch
        return
    highest = conn.execute(sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": name}).scalar()
    with op.batch_alter_table(name, recreate=recreate, table_kwargs={"sqlite_autoincrement": True}) as batch:
        yield batch
    if highest is not None:
        conn.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
        row = {"name": name, "highest": highest}
        conn.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :highest)"), row)


def note_schema(number: str, oldest: str) -> None:
    """For a migration: note the record's schema number, and the oldest that a syncd must have to work on it.

    In the migration's own transaction: a record never has tables that its note does not know.
    """
    conn = op.get_bind()
    now = int(time.time() * 1_000_000)
    for name, value in ((tables.SCHEMA_NOTE, number), (tables.OLDEST_NOTE, oldest)):
        conn.execute(sa.text("DELETE FROM record_info WHERE name = :name"), {"name": name})
        row = {"name": name, "value": value, "at": now}
        conn.execute(sa.text("INSERT INTO record_info (name, value, at) VALUES (:name, :value, :at)"), row)


def _counts(conn: sa.Connection, name: str) -> bool:
    sql = conn.execute(sa.text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": name}).scalar_one()
    return "AUTOINCREMENT" in str(sql)


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether a table is the record's: the engine's tables are in the same database and not Alembic's to drop."""
    return kind != "table" or name in metadata.tables


def _directory() -> Path:
    """The migrations, inside an installed package or beside the package in a source tree."""
    package = Path(syncd.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_directory()).replace("%", "%%"))
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _between(before: tuple[str, ...]) -> list[str]:
    lower = before[0] if before else "base"
    revisions = _script().iterate_revisions("head", lower)
    return [revision.revision for revision in reversed(list(revisions)) if revision.revision not in before]


def _is_newer(found: tuple[str, ...]) -> bool:
    return bool(set(found) - {revision.revision for revision in _script().walk_revisions()})


def _check_code(url: sa.URL, conn: sa.Connection, found: str) -> None:
    """Raises Invalid: the record is newer, and does not say that a syncd of this schema may work on it."""
    oldest = tables.oldest_code(conn, found)
    if oldest and oldest <= newest():
        return
    shown = url.render_as_string(hide_password=True)
    needed = (
        f"and only a syncd of schema {oldest} or newer may work on it" if oldest else "which this syncd does not know"
    )
    raise Invalid(
        f"{shown} has schema {found}, {needed}; this is syncd {_syncd_version()} of schema {newest()}",
        hint="install a newer syncd, or restore the copy of the record from before it was upgraded",
    )


def _syncd_version() -> str:
    try:
        return version("syncd")
    except PackageNotFoundError:  # run from a source tree
        return "(not installed)"


def _heads(conn: sa.Connection) -> tuple[str, ...]:
    heads = MigrationContext.configure(conn, opts={"version_table": VERSION_TABLE}).get_current_heads()
    conn.rollback()  # the query began a transaction
    return heads


@contextlib.contextmanager
def _connected(url: sa.URL, *, create: bool = False) -> Iterator[sa.Connection]:
    engine = make_engine(url, create=create)
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _drop_tables_freely)
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()


def _drop_tables_freely(connection: Any, _record: object) -> None:
    """A migration that changes a column drops the old table, which must not empty those that refer to it."""
    connection.execute("PRAGMA foreign_keys=OFF")


def _wait_for_lock(url: sa.URL, conn: sa.Connection) -> None:
    """Poll in transactions of their own: the engine builds indexes concurrently, for which
    PostgreSQL waits until every other transaction has ended, one that waits in `pg_advisory_lock` too.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    query = sa.text("SELECT pg_try_advisory_lock(:number)")
    while not conn.execute(query, {"number": _LOCK}).scalar_one():
        conn.commit()
        if time.monotonic() > deadline:
            shown = url.render_as_string(hide_password=True)
            raise Unavailable(f"{shown}: another process has been upgrading it for {_LOCK_WAIT_S} s")
        time.sleep(_LOCK_POLL_S)
    conn.commit()


@contextlib.contextmanager
def _locked(url: sa.URL, *, create: bool = False) -> Iterator[sa.Connection]:
    """A connection, while no other process upgrades the same database."""
    file = sqlite_file(url)
    if file is None:
        with _connected(url) as conn:
            _wait_for_lock(url, conn)
            yield conn  # a lock of the session: closing the connection releases it
        return
    with locked_file(file.with_name(f"{file.name}.upgrade")), _connected(url, create=create) as conn:
        yield conn
