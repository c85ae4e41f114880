"""SQL state: one SQLite file or one PostgreSQL database, read in snapshots and written in short transactions."""

from __future__ import annotations

import select
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from syncd.errors import Conflict, Corrupt, Invalid, OutcomeUnknown, RecordUnusable, Refused, SyncdError, Unavailable
from syncd.state.db import changes, rows
from syncd.state.db.url import parse, sqlite_file
from syncd.state.releases import steps

UPGRADE_HINT: Final = "run: syncd db upgrade"
CREATE_HINT: Final = "is the disk mounted? first install: `syncd db create`"

_SQLITE_SCHEMA: Final = ("no such table", "no such column", "has no column named")
_SQLITE_DISK: Final = ("disk is full", "disk I/O error")
_POSTGRES_SCHEMA: Final = frozenset({"42P01", "42703", "3F000"})  # undefined table, column, schema
_NOT_A_DATABASE: Final = ("file is not a database", 'FATAL:  database "')
_DAMAGED: Final = ("database disk image is malformed", "malformed database schema", "database corruption")
_POSTGRES_DAMAGED: Final = frozenset({"XX001", "XX002"})  # data and index corrupted
_DAMAGED_HINT: Final = (
    "the record is damaged: stop the daemon, move the database aside, then restore a copy, or: syncd db create; "
    "syncd db adopt-world (docs/how-to/recover.md)"
)
_NOT_LET_IN: Final = (
    "authentication failed",
    "no pg_hba.conf entry",
    'FATAL:  role "',
)  # psycopg has no code for these
_POSTGRES_READ_ONLY: Final = "25006"

BUSY_TIMEOUT_MS: Final = 30_000  # longer than any transaction here, so that a busy database is a stuck one
CACHE_KIB: Final = 256  # per SQLite connection; its default of 2000 would be 30 MB once the record has grown
CONNECT_TIMEOUT_S: Final = 10
# A line that is cut without a word is noticed within about half a minute, not after the kernel's quarter of an hour.
_POSTGRES_LINE: Final = {
    "tcp_user_timeout": 20_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
}  # fmt: skip
POOL_SIZE: Final = 8
POOL_OVERFLOW: Final = 8
POOL_WAIT_S: Final = 30


class CommittedError(Corrupt):
    """A refusal that is itself part of the record: `write` commits the transaction, then raises it."""


class State:
    """Connections to the record. Safe from several threads; a forked child creates its own."""

    def __init__(self, url: str, *, now: Callable[[sa.Connection], datetime] | None = None) -> None:
        """Opens nothing yet. `now` replaces the database's clock.

        Raises:
            Invalid: The URL is not one of a SQLite file or a PostgreSQL database.
        """
        self.url: Final = parse(url)
        self._now: Final = now or rows.now
        self._engine: Final = make_engine(self.url)
        self._writers: Final = threading.Lock() if self.url.get_backend_name() == "sqlite" else None
        self._told: Callable[[], object] = lambda: None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent snapshot, which neither blocks a writer nor waits for one. A write in it is an error.

        Raises:
            Unavailable: The database cannot be reached, or is locked.
            Invalid: Its tables are missing or older than this syncd.
        """
        with translate_errors(self.url), self._engine.connect() as conn:
            conn.execution_options(syncd_reads=True)
            if conn.dialect.name != "sqlite":
                conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with conn.begin():
                yield conn

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, committed when the block ends, rolled back when it raises (a CommittedError is committed).

        SQLite has one writer at a time from the start of the transaction, so a second `write` within the block waits
        for the first until it times out; on PostgreSQL writers conflict at rows.

        Raises:
            Unavailable: The database cannot be reached, is locked, or ended the transaction: nothing was written.
            OutcomeUnknown: The connection broke during the commit.
            Invalid: Its tables are missing or older than this syncd.
            Conflict: A row that must be unique exists already.
        """
        with translate_errors(self.url), self._turn(), self._engine.connect() as conn:
            transaction = conn.begin()
            changes.unmark(conn)  # a transaction before this one, on the same connection, was rolled back
            verdict: CommittedError | None = None
            try:
                yield conn
            except CommittedError as refusal:
                verdict = refusal
            except BaseException:
                transaction.rollback()
                raise
            is_change = changes.unmark(conn)
            if is_change:
                changes.announce(conn)
            with translate_commit_errors(self.url):
                transaction.commit()
            if is_change:
                self._told()
            if verdict is not None:
                raise verdict

    @contextmanager
    def fenced(self, step_id: str, attempt: int) -> Iterator[sa.Connection]:
        """`write`, for a worker: the step's row is locked until the end, so no newer attempt can begin meanwhile.

        Raises:
            Fenced: The step is not at this attempt, or not queued or running. Nothing was written.
        """
        with self.write() as conn:
            steps.guard(conn, step_id, attempt)
            yield conn

    def now(self, conn: sa.Connection) -> datetime:
        """The database's time, aware and in UTC."""
        return self._now(conn)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the other writers of this process on SQLite: it waits by sleeping, longer each time, up to 0.1 s."""
        if self._writers is None:
            yield
            return
        has_turn = self._writers.acquire(timeout=BUSY_TIMEOUT_MS / 1000)  # without it, SQLite says that it is locked
        try:
            yield
        finally:
            if has_turn:
                self._writers.release()

    def on_change(self, told: Callable[[], object]) -> None:
        """Have `told` called after each commit of this state with an event or a delivery in it; it must not block."""
        self._told = told

    def close(self) -> None:
        """Close idle connections. Repeating it is success; using the state again opens new ones."""
        self._engine.dispose()


def make_engine(url: sa.URL, *, create: bool = False) -> sa.Engine:
    """An engine with the transactions that `State` promises. Without `create` no SQLite file is ever created.

    SQLite would create an empty file where none exists: in the place of an unmounted disk, a record without releases
    and holds.
    """
    pool: dict[str, Any] = {"pool_size": POOL_SIZE, "max_overflow": POOL_OVERFLOW, "pool_timeout": POOL_WAIT_S}
    if url.get_backend_name() != "sqlite":
        arguments = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "syncd", **_POSTGRES_LINE}
        engine = sa.create_engine(url, isolation_level="READ COMMITTED", connect_args=arguments, **pool)
        sa.event.listen(engine, "checkout", _check_line)
        return engine
    opened = f"{Path(url.database or '').absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    engine = sa.create_engine(url, creator=partial(_open_sqlite, opened), **pool)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_line(connection: Any, _record: object, _proxy: object) -> None:
    """Replace the idle connections of a server that has left.

    It sends nothing unasked to an idle client but its farewell, so a look at the socket says what a ping would, and
    costs no statement.
    """
    line = select.poll()
    line.register(connection.fileno(), select.POLLIN)
    if line.poll(0):
        raise exc.InvalidatePoolError


def _open_sqlite(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, check_same_thread=False)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transaction: `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    cursor.close()


def _begin_sqlite(conn: sa.Connection) -> None:
    """A writer takes the lock at once: one that read first and upgraded later would fail, or lose an update."""
    reads = bool(conn.get_execution_options().get("syncd_reads"))
    conn.exec_driver_sql(f"PRAGMA query_only={int(reads)}")
    conn.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def translate_errors(url: sa.URL) -> Iterator[None]:
    """Turn the database's errors inside the block into syncd's; other errors pass.

    Raises:
        Unavailable: It is locked, unreachable, or ended our transaction: nothing was changed.
        Invalid: The tables are missing or older than this syncd, the database is damaged, or the URL has none.
        Refused: It refuses access, or writing.
        Conflict: A row that must be unique exists already, or a required row does not exist.
    """
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise error_of(error, url) from error


@contextmanager
def translate_commit_errors(url: sa.URL) -> Iterator[None]:
    """The same around a commit, where a lost connection leaves the outcome unknown.

    Raises:
        OutcomeUnknown: The connection broke during the commit: read before writing again.
    """
    try:
        yield
    except exc.SQLAlchemyError as error:
        found = error_of(error, url)
        if isinstance(found, Unavailable) and url.get_backend_name() != "sqlite":
            raise OutcomeUnknown(found.message, hint=found.hint) from error
        raise found from error


def error_of(error: exc.SQLAlchemyError, url: sa.URL) -> SyncdError:
    """The syncd error for a SQLAlchemy error. A statement that SQLAlchemy itself refuses is a bug, raised as is."""
    shown = url.render_as_string(hide_password=True)
    cause = getattr(error, "orig", None) or error
    said = f"{shown}: {str(cause).strip().splitlines()[0]}"
    file = sqlite_file(url)
    if "unable to open database file" in said and file is not None and not file.exists():
        return no_record(url)
    code = getattr(cause, "sqlstate", None)
    broken = _unusable(said, code, file is not None)
    if broken is not None:
        return broken
    if any(words in said for words in _NOT_LET_IN):
        return Refused(said, hint="check the user and password of the database URL")
    if code == _POSTGRES_READ_ONLY or "readonly database" in said:
        return Refused(
            said, hint="syncd must be able to write there: check the file's owner, or that it is the primary"
        )
    if isinstance(error, exc.IntegrityError):
        return Conflict(said)
    if any(words in said for words in _SQLITE_DISK):
        return Unavailable(said, hint="check the disk of the database; nothing was written")
    if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
        return Unavailable(said)
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return Unavailable(said)
    raise error


def _unusable(said: str, code: str | None, is_file: bool) -> RecordUnusable | None:  # noqa: FBT001 -- a kind of database
    """The error for a database that a person has to replace or upgrade."""
    if code in _POSTGRES_SCHEMA or any(words in said for words in _SQLITE_SCHEMA):
        return RecordUnusable(said, hint=UPGRADE_HINT)
    if code in _POSTGRES_DAMAGED or any(words in said for words in _DAMAGED):
        return RecordUnusable(said, hint=_DAMAGED_HINT)
    if is_file and "file is not a database" in said:
        hint = f"{_DAMAGED_HINT}; or the database URL of the configuration is that of another file"
        return RecordUnusable(said, hint=hint)
    if any(words in said for words in _NOT_A_DATABASE):
        return RecordUnusable(said, hint="check the database URL of the configuration")
    return None


def no_record(url: sa.URL) -> Invalid:
    """The error for a missing record: an unmounted disk and a first install are indistinguishable."""
    file = sqlite_file(url)
    if file is not None:
        return Invalid(f"no record at {file}", hint=CREATE_HINT)
    shown = url.render_as_string(hide_password=True)
    return Invalid(
        f"no record in {shown}", hint="is this the right database and schema? first install: `syncd db create`"
    )
