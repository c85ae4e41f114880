"""Lock for the one controlling process of a record: a file lock beside SQLite, an advisory lock in PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Final, Protocol

import sqlalchemy as sa
import structlog

from syncd.errors import Conflict, Invalid, Unavailable
from syncd.state.db.filelock import locked_file
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import make_engine, translate_errors

log = structlog.get_logger("syncd.lock")

GIVE_WAY_S: Final = 10.0  # beside draining: how long a process that works for one release takes to notice
_HINT: Final = "to use this process instead, stop that one first"
_ADVISORY_KEY: Final = 0x73796E6364  # "syncd"
_RETRY_S: Final = 0.02
_PROBED_S: Final = 2.0  # a process that tests whether a file is locked locks it for a moment
_LEFT_BEHIND_S: Final = 5.0  # for the server to end a session of ours that it has not noticed is cut off

_SESSION: Final = sa.text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
_HELD: Final = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()"
    " AND classid::bigint = :high AND objid::bigint = :low AND objsubid = 1"
)
_POOLED: Final = "is behind a pooler in transaction mode, such as PgBouncer with pool_mode = transaction"
_POOLED_HINT: Final = "connect to PostgreSQL itself, or set pool_mode = session: the daemon's lock belongs to a session"
_PID: Final = sa.text("SELECT pg_backend_pid()")
_END_SESSION: Final = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :begun"
)

_LOOK_EVERY_S: Final = 1.0
_CANCELLED_S: Final = 5.0  # for the server to end a statement
_END_HOLDERS: Final = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::bigint = :high"
    " AND objid::bigint = :low AND objsubid = 1 AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class RecordLock(Protocol):
    """The lock of the one process that controls a record."""

    def check(self) -> None:
        """Make sure that it is held: take it again if it was lost.

        Raises:
            Conflict: Another process holds it.
            Unavailable: The database cannot be reached. A later call may succeed.
        """
        ...


class Claimant(Enum):
    """A process that others give way to. The value distinguishes its lock from the lock of the work."""

    DAEMON = 1
    ROLLBACK = 2


@contextmanager
def hold(url: str, wait_s: float = 0.0) -> Iterator[RecordLock]:
    """Be the only process that controls this record, inside the block; wait up to `wait_s` for another to leave.

    The lock ends with the process, however it ends. On SQLite the file `<database>.lock` stays and has no meaning
    by itself. On PostgreSQL the lock is the session's: if its connection breaks, another process may take over.
    `check` notices that, and until then the fence on every step keeps the two apart.

    Raises:
        Conflict: Another process holds it; where possible the message has its id.
        Invalid: The URL is wrong, the file beside the database cannot be created, or PostgreSQL is behind a pooler in
            transaction mode.
        Unavailable: PostgreSQL cannot be reached.
    """
    with _locked(url, None, wait_s) as held:
        yield held


@contextmanager
def announce(url: str, claimant: Claimant) -> Iterator[RecordLock]:
    """Make processes that work for one release give way, inside the block. Take `hold` in addition.

    Raises:
        Conflict: Another process of this kind has announced itself.
        Invalid, Unavailable: As `hold` does.
    """
    with _locked(url, claimant, _PROBED_S) as held:
        yield held


def await_turn(url: str, stop: threading.Event, look: Callable[[], bool]) -> bool:
    """Wait on PostgreSQL until no daemon is announced. False: `stop` was set.

    The server wakes the wait as soon as the other daemon's session ends, however it ends, and is asked nothing
    meanwhile. About once a second `look` is called: true means that the other daemon is silent for too long, and then
    its sessions are ended. It may have been stopped, or cut off, and the server would keep them for hours.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
    """
    engine = make_engine(parse(url))
    try:
        with translate_errors(parse(url)), engine.connect() as conn:
            conn.execution_options(isolation_level="AUTOCOMMIT")
            waiting = _Waiting(conn, _ADVISORY_KEY + Claimant.DAEMON.value)
            try:
                while not stop.is_set():
                    if waiting.ended.wait(_LOOK_EVERY_S):
                        return waiting.is_locked()
                    if look():
                        _end_holders(engine)
                return False
            finally:
                waiting.end()
    finally:
        engine.dispose()


class _Waiting:
    """A wait for an advisory lock in a thread of its own. A lock that comes is released again."""

    def __init__(self, conn: sa.Connection, key: int) -> None:
        self.ended: Final = threading.Event()
        self._conn = conn
        self._key = key
        self._error: sa.exc.SQLAlchemyError | None = None
        self._thread = threading.Thread(target=self._wait, name="await turn", daemon=True)
        self._thread.start()

    def is_locked(self) -> bool:
        """Whether it came. Raises what ended the wait."""
        if self._error is not None:
            raise self._error
        return True

    def end(self) -> None:
        """End the wait. Repeating it is success."""
        driver = self._conn.connection.dbapi_connection
        if not self.ended.is_set() and driver is not None:
            with suppress(Exception):  # the line may be gone, and then the wait ends by itself
                driver.cancel()
        self._thread.join(_CANCELLED_S)
        self._conn.invalidate()

    def _wait(self) -> None:
        try:
            self._conn.execute(sa.select(sa.func.pg_advisory_lock(self._key)))
            self._conn.execute(sa.select(sa.func.pg_advisory_unlock(self._key)))
        except sa.exc.SQLAlchemyError as error:
            self._error = error
        finally:
            self.ended.set()


def _end_holders(engine: sa.Engine) -> None:
    keys = [divmod(_ADVISORY_KEY + number, 1 << 32) for number in (0, Claimant.DAEMON.value)]
    for high, low in keys:
        with engine.connect() as conn:
            ended = conn.execute(_END_HOLDERS, {"high": high, "low": low}).all()
        if ended:
            log.warning(
                "lock.silent_holder", message="The sessions of a silent daemon were ended.", sessions=len(ended)
            )


def is_announced(url: str, claimant: Claimant) -> bool:
    """Whether a process of this kind runs or is about to.

    Raises:
        Invalid, Unavailable: As `hold` does.
    """
    if sqlite_file(parse(url)) is None:
        return _is_taken(parse(url), _ADVISORY_KEY + claimant.value)
    try:
        with _locked(url, claimant, 0.0):
            return False
    except Conflict:
        return True


@contextmanager
def _locked(url: str, claimant: Claimant | None, wait_s: float) -> Iterator[RecordLock]:
    file = sqlite_file(parse(url))
    if file is None:
        advisory = _AdvisoryLock(parse(url), _ADVISORY_KEY + (claimant.value if claimant else 0))
        try:
            advisory.take(wait_s)
            yield advisory
        finally:
            advisory.close()
        return
    suffix = f"{claimant.name.lower()}.lock" if claimant else "lock"
    deadline = time.monotonic() + wait_s
    while True:
        lock = locked_file(file.with_name(f"{file.name}.{suffix}"), wait=False)
        try:
            lock.__enter__()
            break
        except Conflict as error:
            if time.monotonic() >= deadline:
                raise Conflict(f"{file} is served by another process: {error.message}", hint=_HINT) from error
        time.sleep(_RETRY_S)
    try:
        yield _FileLock()
    finally:
        lock.__exit__(None, None, None)


class _FileLock:
    """The kernel keeps it for as long as the process has the file open."""

    def check(self) -> None:
        """It cannot be lost."""


class _AdvisoryLock:
    """An advisory lock of a session of its own. Not safe from several threads."""

    def __init__(self, url: sa.URL, key: int) -> None:
        self._url = url
        self._take = sa.select(sa.func.pg_try_advisory_lock(key))
        high, low = divmod(key, 1 << 32)
        self._held = _HELD.bindparams(high=high, low=low)
        self._engine = make_engine(url)
        self._conn: sa.Connection | None = None
        self._session: tuple[object, object] | None = None  # process id and start of the newest one that had the lock

    def take(self, wait_s: float = 0.0) -> None:
        """Take the lock in a new session, within `wait_s`. Raises Conflict and Unavailable, as `check` does."""
        with translate_errors(self._url):
            conn = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                self._check_session(conn)
                wait_s = max(wait_s, _LEFT_BEHIND_S if self._ends_lost_session(conn) else 0.0)
                until_s = time.monotonic() + wait_s
                while not (taken := conn.execute(self._take).scalar_one()) and time.monotonic() < until_s:
                    time.sleep(_RETRY_S)
                session = conn.execute(_SESSION).one()
            except BaseException:
                conn.invalidate()
                conn.close()
                raise
        if not taken:
            conn.close()
            raise Conflict(f"{self._url.render_as_string(hide_password=True)} is served by another process", hint=_HINT)
        self._conn, self._session = conn, (session.pid, session.backend_start)

    def check(self) -> None:
        """See `RecordLock`."""
        if self._conn is not None and self._is_held(self._conn):
            return
        self._drop()
        self.take()
        log.warning("lock.retaken", message="The session that held the lock was lost. The lock was taken again.")

    def close(self) -> None:
        """Release the lock. Repeating it is success."""
        self._drop()
        self._engine.dispose()

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.invalidate()
            conn.close()

    def _check_session(self, conn: sa.Connection) -> None:
        """Raises Invalid where two statements of one connection may reach two sessions of the server.

        A pooler in transaction mode gives the session that a first statement used to the next transaction of anybody.
        """
        mine = conn.execute(_PID).scalar_one()
        with self._engine.connect() as other, other.begin():
            theirs = other.execute(_PID).scalar_one()
            again = conn.execute(_PID).scalar_one()
        if mine == theirs or mine != again:
            shown = self._url.render_as_string(hide_password=True)
            raise Invalid(f"{shown} {_POOLED}", hint=_POOLED_HINT)

    def _is_held(self, conn: sa.Connection) -> bool:
        try:
            with translate_errors(self._url):
                return bool(conn.execute(self._held).scalar_one())
        except Unavailable:
            return False

    def _ends_lost_session(self, conn: sa.Connection) -> bool:
        """End our own former session, which the server may keep for hours after its line was cut."""
        if self._session is None:
            return False
        pid, begun = self._session
        return bool(conn.execute(_END_SESSION, {"pid": pid, "begun": begun}).scalar())


def _is_taken(url: sa.URL, key: int) -> bool:
    """Read, not tried: a lock that is tried is held for a moment."""
    engine = make_engine(url)
    high, low = divmod(key, 1 << 32)
    query = sa.text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = :high AND objid = :low"
        " AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    try:
        with translate_errors(url), engine.connect() as conn:
            return bool(conn.execute(query, {"high": high, "low": low}).scalar_one())
    finally:
        engine.dispose()
