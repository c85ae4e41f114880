"""DBOS engine: its tables, its one instance in a process, its log, its SQLite."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from syncd.engine.base import ExecutionStatus
from syncd.engine.dbos import DbosEngine, check_sqlite, create_tables
from syncd.engine.lock import hold
from syncd.engine.upgrade import create
from syncd.errors import Conflict, Invalid, Unavailable
from syncd.state import upgrade as record
from syncd.state.db.url import parse
from syncd.state.state import State

from tests.conformance.engine import Bodies, eventually


@pytest.fixture
def engine(database_url: str) -> Iterator[DbosEngine]:
    engine = DbosEngine(database_url, poll_s=0.02)
    yield engine
    engine.stop(10)
    engine.close()


def submit(engine: DbosEngine, state: State, step: str) -> None:
    with state.write() as conn:
        engine.submit(conn, step, 1, "q", 0)


def test_one_engine_serves_in_a_process_and_others_submit(engine: DbosEngine, state: State, database_url: str) -> None:
    ran = threading.Event()
    other = DbosEngine(database_url)
    engine.serve({"q": 1}, lambda *_: ran.set())
    with pytest.raises(Conflict, match="in this process already"):
        other.serve({"q": 1}, lambda *_: None)
    submit(other, state, "a")
    assert ran.wait(20)
    other.stop(0)
    submit(other, state, "b")
    eventually(lambda: other.status("b", 1) is ExecutionStatus.ENDED)
    other.close()


def test_a_body_that_breaks_its_promise_ends_for_the_engine(engine: DbosEngine, state: State) -> None:
    def raise_anyway(step_id: str, attempt: int) -> None:
        raise RuntimeError(step_id, attempt)

    engine.serve({"q": 1}, raise_anyway)
    submit(engine, state, "a")
    submit(engine, state, "b")
    eventually(lambda: engine.status("b", 1) is ExecutionStatus.ENDED)
    assert engine.status("a", 1) is ExecutionStatus.ENDED


def test_attempts_claimed_by_an_earlier_process_end_when_sqlite_is_served_again(
    tmp_path: Path, sqlite_template: Path
) -> None:
    file = tmp_path / "state.db"
    file.write_bytes(sqlite_template.read_bytes())
    state, engine, bodies = State(f"sqlite:///{file}"), DbosEngine(f"sqlite:///{file}", poll_s=0.02), Bodies()
    submit(engine, state, "a")
    with state.write() as conn:
        conn.execute(sa.text("UPDATE workflow_status SET status = 'PENDING', executor_id = 'dead'"))
    assert engine.status("a", 1) is ExecutionStatus.RUNNING
    engine.serve({"q": 1}, bodies.run)
    assert engine.status("a", 1) is ExecutionStatus.ENDED
    assert bodies.ran == []
    engine.stop(0)
    engine.close()
    state.close()


def test_what_a_dead_process_had_claimed_is_deleted_in_the_end(engine: DbosEngine, state: State) -> None:
    submit(engine, state, "a")
    schema = "dbos." if state.url.get_backend_name() == "postgresql" else ""
    with state.write() as conn:
        conn.execute(sa.text(f"UPDATE {schema}workflow_status SET status = 'PENDING', executor_id = 'dead'"))
    assert engine.forget(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert engine.status("a", 1) is ExecutionStatus.RUNNING
    later = datetime.now(UTC) + timedelta(seconds=5)
    engine.forget(later)
    engine.forget(later)
    assert engine.status("a", 1) is ExecutionStatus.MISSING


def test_the_error_for_missing_engine_tables_names_the_command(empty_database_url: str) -> None:
    record.create(empty_database_url)
    engine, state = DbosEngine(empty_database_url), State(empty_database_url)
    with pytest.raises(Invalid) as caught:
        engine.serve({"q": 1}, lambda *_: None)
    assert caught.value.hint == "run: syncd db upgrade"
    with pytest.raises(Invalid):
        submit(engine, state, "a")
    create_tables(parse(empty_database_url))
    create_tables(parse(empty_database_url))
    submit(engine, state, "a")
    assert engine.status("a", 1) is ExecutionStatus.WAITING
    engine.close()
    state.close()


def test_older_tables_of_the_engine_are_refused_and_serving_can_be_tried_again(empty_database_url: str) -> None:
    create(empty_database_url)
    engine, state, ran = DbosEngine(empty_database_url, poll_s=0.02), State(empty_database_url), threading.Event()
    with state.write() as conn:
        migrations = "dbos_migrations" if conn.dialect.name == "sqlite" else "dbos.dbos_migrations"
        conn.execute(sa.text(f"UPDATE {migrations} SET version = version - 1"))
    with pytest.raises(Invalid) as caught:
        engine.serve({"q": 1}, lambda *_: ran.set())
    assert caught.value.hint == "run: syncd db upgrade"
    with state.write() as conn:
        conn.execute(sa.text(f"UPDATE {migrations} SET version = version + 1"))
    engine.serve({"q": 1}, lambda *_: ran.set())
    submit(engine, state, "a")
    assert ran.wait(20)
    engine.stop(10)
    engine.close()
    state.close()


def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    engine = DbosEngine(f"postgresql:///syncd?host={tmp_path}")
    for ask in (
        lambda: engine.serve({"q": 1}, lambda *_: None),
        lambda: engine.status("a", 1),
        lambda: engine.cancel("a", 1),
        lambda: create_tables(parse(f"postgresql:///syncd?host={tmp_path}")),
    ):
        with pytest.raises(Unavailable):
            ask()
    engine.stop(0)
    engine.close()


def test_the_engine_logs_where_everything_is_logged(engine: DbosEngine, caplog: pytest.LogCaptureFixture) -> None:
    engine.serve({"q": 1}, lambda *_: None)
    log = logging.getLogger("dbos")
    assert log.propagate
    assert [type(handler) for handler in log.handlers] == [logging.NullHandler]
    log.warning("something")
    log.info("chatter")
    assert [entry.getMessage() for entry in caplog.records] == ["something"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12 on; on purpose
def test_a_child_of_a_fork_can_serve(tmp_path: Path, sqlite_template: Path) -> None:
    file = tmp_path / "state.db"
    file.write_bytes(sqlite_template.read_bytes())
    child = os.fork()
    if child == 0:  # pragma: no cover -- in the child
        code = 1
        try:
            state, engine, ran = (
                State(f"sqlite:///{file}"),
                DbosEngine(f"sqlite:///{file}", poll_s=0.1),
                threading.Event(),
            )
            engine.serve({"q": 1}, lambda *_: ran.set())
            submit(engine, state, "a")
            code = 0 if ran.wait(20) else 2
            engine.stop(5)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_old_sqlite_is_refused_where_dbos_would_die_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    url = parse("sqlite:////tmp/state.db")
    monkeypatch.setattr(sys, "version_info", _Version(3, 12))
    with pytest.raises(Invalid, match=r"SQLite is 3\.40\.1, Python 3\.12 needs 3\.42") as caught:
        check_sqlite(url, (3, 40, 1))
    assert "PostgreSQL" in caught.value.hint
    check_sqlite(url, (3, 42, 0))
    check_sqlite(parse("postgresql:///syncd"), (3, 40, 1))
    monkeypatch.setattr(sys, "version_info", _Version(3, 11))
    check_sqlite(url, (3, 40, 1))


class _Version(tuple[int, ...]):
    __slots__ = ()

    def __new__(cls, major: int, minor: int) -> _Version:
        return super().__new__(cls, (major, minor))

    major = property(lambda self: self[0])
    minor = property(lambda self: self[1])


def test_a_second_serving_process_is_refused_with_the_first_ones_id(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    with hold(url):
        with pytest.raises(Conflict, match=f"process {os.getpid()}") as caught, hold(url):
            pass
        assert "stop that one first" in caught.value.hint
        with hold(f"sqlite:///{tmp_path / 'other.db'}"):
            pass
    with hold(url):
        pass


def test_a_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover -- in the child
        with hold(url):
            os.write(writer, b"held")
            threading.Event().wait()
    assert os.read(reader, 4) == b"held"
    with pytest.raises(Conflict, match=f"process {child}"), hold(url):
        pass
    os.kill(child, 9)
    os.waitpid(child, 0)
    with hold(url):
        pass
    os.close(reader)
    os.close(writer)


def test_a_record_has_one_controlling_process_on_both_databases(database_url: str) -> None:
    with hold(database_url), pytest.raises(Conflict, match="is served by another process"), hold(database_url):
        pass
    with hold(database_url):
        pass
