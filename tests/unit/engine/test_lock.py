"""The advisory lock outlives its session: a daemon that lost it takes it again, or finds out who has it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs
from syncd.daemon.process import Process
from syncd.engine import lock
from syncd.errors import Conflict, SyncdError, Unavailable
from syncd.state.access import processes
from syncd.state.state import State

from tests.acceptance.stage import until
from tests.support.lines import Line, through
from tests.support.rooms import World
from tests.unit.daemon.test_process import SETTINGS, context_of

_HOLDERS = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_END_HOLDERS = _HOLDERS.replace("pid", "pg_terminate_backend(pid, 5000)", 1)


@pytest.fixture
def url(postgresql_database: str) -> str:
    return postgresql_database


@pytest.fixture
def line(url: str) -> Iterator[Line]:
    directory = str(sa.make_url(url).query["host"])
    line = Line(str(Path(directory) / ".s.PGSQL.5432"))
    yield line
    line.close()


def end_holders(url: str, key: int | None = None) -> None:
    """End the session that holds an advisory lock, of this key if there are several."""
    query = _END_HOLDERS if key is None else f"{_END_HOLDERS} AND objid::bigint = {key % (1 << 32)}"
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        assert connection.execute(query).rowcount == 1


def has_holder(url: str) -> bool:
    """Unlike `is_free` it takes no lock: a process that wants its lock again would leave for that."""
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        return connection.execute(_HOLDERS).rowcount == 1


def has_waiter(url: str) -> bool:
    query = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        return connection.execute(query).rowcount >= 1


def is_free(url: str) -> bool:
    try:
        with lock.hold(url):
            return True
    except Conflict:
        return False


def is_held(held: lock.RecordLock) -> bool:
    try:
        held.check()
    except Conflict:  # the server ends the other's session a moment after that has left
        return False
    return True


def test_a_lock_whose_session_was_ended_is_taken_again(url: str) -> None:
    with lock.hold(url) as held:
        held.check()
        end_holders(url)
        with capture_logs() as logs:
            held.check()
        assert [line["event"] for line in logs] == ["lock.retaken"]
        assert not is_free(url)
        held.check()
    until(lambda: is_free(url), "the lock to be free")


def test_a_lock_that_another_process_took_is_a_conflict_until_it_is_free(url: str) -> None:
    with lock.hold(url) as held:
        end_holders(url)
        with lock.hold(url):
            for _ in range(2):
                with pytest.raises(Conflict, match="another process"):
                    held.check()
        until(lambda: is_held(held), "the lock to be taken again")
        assert not is_free(url)


def test_a_lock_behind_a_cut_line_is_taken_from_the_session_that_the_server_still_keeps(url: str, line: Line) -> None:
    with lock.hold(through(line, url)) as held:
        line.cut()
        with pytest.raises(Unavailable):
            held.check()
        assert not is_free(url), "the server has not noticed the cut"
        line.is_up = True
        held.check()
        assert not is_free(url)
    until(lambda: is_free(url), "the lock to be free")


def test_a_file_lock_is_not_lost(tmp_path: Path, sqlite_template: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    (tmp_path / "state.db").write_bytes(sqlite_template.read_bytes())
    with lock.hold(url) as held:
        held.check()
        assert not is_free(url)


class Daemon:
    """A process in a thread, under a lock of its own."""

    def __init__(self, url: str, tmp_path: Path) -> None:
        self.url = url
        self.state = State(url)
        self.context = context_of(World(tmp_path / "registry"), self.state)
        self.failed: list[SyncdError] = []
        self._thread = threading.Thread(target=self._run)
        self._process: Process | None = None

    def __enter__(self) -> Daemon:
        self._thread.start()
        until(self.is_seen, "the process to be seen")
        return self

    def __exit__(self, *_: object) -> None:
        self.context.draining.set()
        self.context.wake.set()
        self.join()
        self.state.close()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def is_seen(self) -> bool:
        with self.state.read() as conn:
            return bool(processes.alive(conn, self.state.now(conn)))

    def _run(self) -> None:
        try:
            with lock.hold(self.url) as held:
                Process(self.context, SETTINGS, sole=True, check_lock=held.check).run()
        except SyncdError as error:
            self.failed.append(error)


@pytest.fixture
def daemon(database_url: str, tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(database_url, tmp_path) as daemon:
        yield daemon


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_process_takes_its_lost_lock_again_and_goes_on(daemon: Daemon) -> None:
    end_holders(daemon.url)
    until(lambda: has_holder(daemon.url), "the lock to be taken again")
    assert not daemon.failed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_process_whose_lock_another_one_has_drains_and_ends_with_a_conflict(daemon: Daemon) -> None:
    # It waits in line before the daemon's session ends: asked for afterwards, the daemon could have it again first.
    with psycopg.connect(daemon.url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as other:
        other.execute("SET statement_timeout = '30s'")
        waiting = threading.Thread(
            target=other.execute, args=("SELECT pg_advisory_lock(%s)", [lock._ADVISORY_KEY]), daemon=True
        )
        waiting.start()
        until(lambda: has_waiter(daemon.url), "the other session to wait for the lock")
        end_holders(daemon.url)
        daemon.join()
        waiting.join(30)
    assert [type(error) for error in daemon.failed] == [Conflict]
    assert not daemon.is_seen()


class Turn:
    """A stand-by that waits in a thread. `is_silent` is what it thinks of the other daemon."""

    def __init__(self, url: str) -> None:
        self.url, self.stop, self.looks, self.is_silent = url, threading.Event(), 0, False
        self.came: list[bool] = []
        self._thread = threading.Thread(target=self._wait)

    def _wait(self) -> None:
        self.came.append(lock.await_turn(self.url, self.stop, self._look))

    def _look(self) -> bool:
        self.looks += 1
        return self.is_silent

    def __enter__(self) -> Turn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_a_stand_by_has_its_turn_when_the_other_daemon_leaves_and_keeps_no_lock(url: str) -> None:
    with Turn(url) as turn, lock.announce(url, lock.Claimant.DAEMON):
        with Turn(url) as waiting:
            until(lambda: waiting.looks > 0, "the stand-by to look")
            assert waiting.came == []
            waiting.stop.set()
        assert waiting.came == [False]
        turn.stop.clear()
    assert turn.came == [True]
    assert not lock.is_announced(url, lock.Claimant.DAEMON)


def test_the_sessions_of_a_silent_daemon_are_ended_and_it_learns_so(url: str) -> None:
    with lock.announce(url, lock.Claimant.DAEMON) as announced, lock.hold(url) as held:
        with Turn(url) as turn:
            until(lambda: turn.looks > 0, "the stand-by to look")
            turn.is_silent = True
        assert turn.came == [True]
        with lock.announce(url, lock.Claimant.DAEMON), lock.hold(url):
            for lost in (announced, held):
                with pytest.raises(Conflict):
                    lost.check()
