"""SQL state: one SQLite file or one PostgreSQL database, read in snapshots and written in short transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from syncd.errors import Corrupt
from syncd.state.db import clock
from syncd.state.db.errors import translate_commit_errors, translate_errors
from syncd.state.db.url import parse
from syncd.state.releases import steps

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
        self._now: Final = now or clock.now
        self._engine: Final = make_engine(self.url)

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
        with translate_errors(self.url), self._engine.connect() as conn:
            transaction = conn.begin()
            verdict: CommittedError | None = None
            try:
                yield conn
            except CommittedError as refusal:
                verdict = refusal
            except BaseException:
                transaction.rollback()
                raise
            with translate_commit_errors(self.url):
                transaction.commit()
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
        return sa.create_engine(
            url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=arguments, **pool
        )
    opened = f"{Path(url.database or '').absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    engine = sa.create_engine(url, creator=partial(_open_sqlite, opened), **pool)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


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
