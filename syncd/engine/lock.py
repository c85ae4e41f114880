"""One controlling process for a record: a file lock beside SQLite, an advisory lock in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

import sqlalchemy as sa

from syncd.errors import Conflict
from syncd.state.db.errors import translate_errors
from syncd.state.db.filelock import locked_file
from syncd.state.db.url import parse, sqlite_file
from syncd.state.state import make_engine

GIVE_WAY_S: Final = 10.0  # beside the draining: how long a process that works for one release takes to notice
_HINT: Final = "it does the work; stop it first if this process should"
_ADVISORY_KEY: Final = 0x73796E6364  # "syncd"
_RETRY_S: Final = 0.02
_PROBED_S: Final = 2.0  # a process that asks whether a file is locked locks it for a moment


class Claimant(Enum):
    """A process that others give way to. The value tells its lock from the one of the work."""

    DAEMON = 1
    ROLLBACK = 2


@contextmanager
def hold(url: str, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only process that controls this record, inside the block; wait up to `wait_s` for another to leave.

    The lock ends with the process, whatever its death. On SQLite the file `<database>.lock` stays and means nothing
    by itself. On PostgreSQL the lock is the session's: should its connection break, another process may take over
    while this one still runs, and the fence on every step keeps the two apart.

    Raises:
        Conflict: Another process has it; where it can be known the message has its id.
        Invalid: The URL is wrong, or the file beside the database cannot be made.
        Unavailable: PostgreSQL cannot be reached.
    """
    with _locked(url, None, wait_s):
        yield


@contextmanager
def announce(url: str, claimant: Claimant) -> Iterator[None]:
    """Have processes that work for one release give way, inside the block. `hold` is taken beside it.

    Raises:
        Conflict: Another process of this kind has announced itself.
        Invalid, Unavailable: As `hold` does.
    """
    with _locked(url, claimant, _PROBED_S):
        yield


def is_announced(url: str, claimant: Claimant) -> bool:
    """Whether a process of this kind is there, at work or about to be.

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
def _locked(url: str, claimant: Claimant | None, wait_s: float) -> Iterator[None]:
    file = sqlite_file(parse(url))
    if file is None:
        with _advisory(parse(url), _ADVISORY_KEY + (claimant.value if claimant else 0), wait_s):
            yield
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
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def _advisory(url: sa.URL, key: int, wait_s: float) -> Iterator[None]:
    engine = make_engine(url)
    deadline = time.monotonic() + wait_s
    try:
        with translate_errors(url):
            conn = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            take = sa.select(sa.func.pg_try_advisory_lock(key))
            while not (taken := conn.execute(take).scalar_one()) and time.monotonic() < deadline:
                time.sleep(_RETRY_S)
        with conn:
            if not taken:
                shown = url.render_as_string(hide_password=True)
                raise Conflict(f"{shown} is served by another process", hint=_HINT)
            yield
    finally:
        engine.dispose()


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
