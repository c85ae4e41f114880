"""Signals that the record has changed, so that a process works at once and reads nothing while there is nothing to do.

A transaction that `mark`ed itself is announced when it is committed: on PostgreSQL by NOTIFY to every process. On
SQLite `PRAGMA data_version` of a connection of its own changes with each commit of any other connection.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final

import sqlalchemy as sa

from syncd.state.db.url import sqlite_file

CHANNEL: Final = "syncd_changed"
LOOK_EVERY_S: Final = 0.05  # a look at a SQLite file is one page in memory: 10 µs
REST_S: Final = 0.25
LISTEN_S: Final = 1.0  # how soon a listener of PostgreSQL notices that it has to end
_RETRY_S: Final = 5.0
_MARK: Final = "syncd_changed"


def mark(conn: sa.Connection) -> None:
    """Have this transaction announced once it is committed."""
    conn.info[_MARK] = True


def unmark(conn: sa.Connection) -> bool:
    """Whether this transaction is to be announced; from then on it is not any more."""
    return bool(conn.info.pop(_MARK, False))


def announce(conn: sa.Connection) -> None:
    """Announce this transaction to other processes, when it is committed."""
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(f"NOTIFY {CHANNEL}")


def watch(
    url: sa.URL, changed: Callable[[], object], stop: Event, failed: Callable[[Exception], object] = lambda _: None
) -> None:
    """Call `changed` after commits of other processes, until `stop` is set. Blocks; begins again after an error.

    Commits of this process are seen too, so a row of them is one call every `REST_S`. None is missed between an error
    and the next begin: `changed` is called then.
    """
    file = sqlite_file(url)
    while not stop.is_set():
        try:
            if file is None:
                _listen(url, _Rested(changed), stop)
            else:
                _watch_file(file, _Rested(changed), stop)
        except Exception as error:  # noqa: BLE001 -- a loop top: the slow poll goes on without it
            failed(error)
        if stop.wait(_RETRY_S):
            return
        changed()


class _Rested:
    """Calls `changed` at once for the first of several changes, and once for the others when `REST_S` have passed."""

    def __init__(self, changed: Callable[[], object]) -> None:
        self._changed = changed
        self._called_s = -REST_S
        self._is_owed = False

    def look(self, *, is_changed: bool) -> None:
        """Report what a look has found."""
        self._is_owed = self._is_owed or is_changed
        if self._is_owed and time.monotonic() >= self._called_s + REST_S:
            self._is_owed, self._called_s = False, time.monotonic()
            self._changed()

    @property
    def wait_s(self) -> float:
        """How long the next look may wait for a change."""
        return REST_S if self._is_owed else LISTEN_S


def _watch_file(file: Path, rested: _Rested, stop: Event) -> None:
    conn = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        known = None
        while not stop.wait(LOOK_EVERY_S):
            (version,) = conn.execute("PRAGMA data_version").fetchone()
            rested.look(is_changed=known is not None and version != known)
            known = version
    finally:
        conn.close()


def _listen(url: sa.URL, rested: _Rested, stop: Event) -> None:
    import psycopg  # noqa: PLC0415 -- only for those who have PostgreSQL

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True, application_name="syncd") as conn:
        conn.execute(f"LISTEN {CHANNEL}")
        while not stop.is_set():
            rested.look(is_changed=any(True for _ in conn.notifies(timeout=rested.wait_s, stop_after=1)))
