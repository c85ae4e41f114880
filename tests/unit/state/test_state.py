"""Transactions, the clock, the database's errors, and the values in columns."""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from syncd.errors import Conflict, Invalid, NotFound, OutcomeUnknown, RecordUnusable, Refused, SyncdError, Unavailable
from syncd.plan.phases import StepState
from syncd.state.db.filelock import locked_file
from syncd.state.db.rows import EnumType, TimestampType
from syncd.state.db.schema import releases as releases_table
from syncd.state.db.schema import steps as steps_table
from syncd.state.db.url import parse, sqlite_file
from syncd.state.records import Step
from syncd.state.releases import releases, steps
from syncd.state.state import CACHE_KIB, CREATE_HINT, State, error_of, translate_commit_errors
from syncd.state.upgrade import create

from tests.unit.state.making import NOON, after_s, make_release, make_running, make_step

SQLITE = parse("sqlite:////var/lib/syncd/state.db")
POSTGRESQL = parse("postgresql://syncd:pa55word@db.internal/syncd")


def test_a_block_that_raises_wrote_nothing(state: State) -> None:
    def fail() -> None:
        with state.write() as conn:
            make_release(conn)
            raise NotFound("something")

    with pytest.raises(NotFound):
        fail()
    with state.read() as conn:
        assert releases.recent(conn, 9) == []


def test_a_snapshot_does_not_change_and_does_not_hold_up_a_writer(state: State) -> None:
    with state.read() as seen:
        assert releases.recent(seen, 9) == []
        with state.write() as conn:
            make_release(conn)
        assert releases.recent(seen, 9) == []
    with state.read() as conn:
        assert len(releases.recent(conn, 9)) == 1


def test_a_reader_does_not_wait_for_a_writer(state: State) -> None:
    with state.write() as conn:
        make_release(conn)
        with state.read() as other:
            assert releases.recent(other, 9) == []


def test_a_snapshot_cannot_be_written_to_and_the_next_write_can(state: State) -> None:
    with pytest.raises(Refused), state.read() as conn:
        make_release(conn)
    with state.write() as conn:
        make_release(conn)


def test_no_update_is_lost_between_threads(state: State) -> None:
    with state.write() as conn:
        step = make_step(conn)

    def fail_often() -> None:
        for _ in range(10):
            with state.write() as conn:
                found = steps.get(conn, step.id) if conn.dialect.name == "sqlite" else _locked(conn, step.id)
                conn.execute(sa.update(steps_table).values(failures=found.failures + 1))

    threads = [threading.Thread(target=fail_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with state.read() as conn:
        assert steps.get(conn, step.id).failures == 40


def _locked(conn: sa.Connection, step_id: str) -> Step:
    conn.execute(sa.select(steps_table.c.id).where(steps_table.c.id == step_id).with_for_update())
    return steps.get(conn, step_id)


def test_a_fenced_transaction_blocks_a_takeover_of_its_step(state: State) -> None:
    with state.write() as conn:
        step = make_running(conn, lease_s=10)
    order: list[str] = []
    inside, taken = threading.Event(), threading.Event()

    def take_over() -> None:
        inside.wait(10)
        with contextlib.suppress(Conflict), state.write() as conn:
            steps.hand_over(conn, step, after_s(60))
            order.append("taken")
        taken.set()

    thread = threading.Thread(target=take_over)
    thread.start()
    with state.fenced(step.id, 1) as conn:
        inside.set()
        steps.done(conn, step.id, 1, NOON)
        order.append("done")
    assert taken.wait(10)
    thread.join()
    assert order == ["done"]
    with state.read() as conn:
        assert steps.get(conn, step.id).state is StepState.DONE


def test_the_clock_is_the_databases_and_goes_on_within_a_transaction(state: State) -> None:
    with state.read() as conn:
        first = state.now(conn)
        assert abs(first - datetime.now(UTC)) < timedelta(seconds=5)
        assert first.tzinfo is UTC
        while state.now(conn) == first:
            pass
        assert timedelta(0) < state.now(conn) - first < timedelta(seconds=1)


def test_another_clock_can_be_given(database_url: str) -> None:
    state = State(database_url, now=lambda _: NOON)
    with state.read() as conn:
        assert state.now(conn) == NOON
    state.close()
    state.close()


def test_times_come_back_to_the_microsecond_and_compare_across_zones(state: State) -> None:
    tokyo = timezone(timedelta(hours=9))
    with state.write() as conn:
        make_release(conn)
        query = sa.select(releases_table.c.id).where(releases_table.c.created_at == NOON.astimezone(tokyo))
        assert conn.execute(query).scalar_one() == "r-1"
        assert releases.get(conn, "r-1").created_at == NOON
    assert (
        TimestampType().process_bind_param(datetime(1969, 12, 31, tzinfo=UTC), SQLITE.get_dialect()())
        == -86_400_000_000
    )


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        TimestampType().process_bind_param(datetime(2026, 1, 1), SQLITE.get_dialect()())  # noqa: DTZ001 -- the point of it


def test_an_unknown_enum_value_is_refused() -> None:
    with pytest.raises(ValueError, match="finished"):
        EnumType(StepState).process_result_value("finished", SQLITE.get_dialect()())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sqlite:////var/lib/syncd/state.db", "sqlite:////var/lib/syncd/state.db"),
        ("sqlite:///state.db", "sqlite:///state.db"),
        ("postgresql://db/syncd", "postgresql+psycopg://db/syncd"),
        ("postgresql+psycopg2://db/syncd", "postgresql+psycopg://db/syncd"),
    ],
)
def test_urls_are_read(written: str, read: str) -> None:
    assert parse(written).render_as_string() == read


@pytest.mark.parametrize(
    "written",
    ["", "state.db", "mysql://root:pa55word@db/x", "sqlite://", "sqlite:///:memory:", "postgresql://h:port/x"],
)
def test_invalid_urls_are_refused_without_showing_a_password(written: str) -> None:
    with pytest.raises(Invalid) as caught:
        State(written)
    assert "pa55word" not in caught.value.message
    assert "sqlite:///" in caught.value.hint


def test_only_sqlite_has_a_file() -> None:
    assert sqlite_file(SQLITE) == Path("/var/lib/syncd/state.db")
    assert sqlite_file(POSTGRESQL) is None


class _Foreign(Exception):
    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def _wrapped(kind: type[exc.DBAPIError], text: str, sqlstate: str | None = None) -> exc.DBAPIError:
    return kind("SELECT 1", {}, _Foreign(text, sqlstate))


MEANINGS: list[tuple[exc.SQLAlchemyError, sa.URL, type[SyncdError]]] = [
    (_wrapped(exc.OperationalError, "database is locked"), SQLITE, Unavailable),
    (_wrapped(exc.OperationalError, "disk I/O error"), SQLITE, Unavailable),
    (_wrapped(exc.OperationalError, "unable to open database file"), SQLITE, Invalid),  # there is none
    (_wrapped(exc.OperationalError, "no such table: steps"), SQLITE, RecordUnusable),
    (_wrapped(exc.OperationalError, "no such column: steps.hint"), SQLITE, RecordUnusable),
    (_wrapped(exc.OperationalError, "table steps has no column named hint"), SQLITE, RecordUnusable),
    (_wrapped(exc.DatabaseError, "file is not a database"), SQLITE, RecordUnusable),
    (_wrapped(exc.DatabaseError, "database disk image is malformed"), SQLITE, RecordUnusable),
    (_wrapped(exc.OperationalError, "attempt to write a readonly database"), SQLITE, Refused),
    (_wrapped(exc.IntegrityError, "UNIQUE constraint failed: flips.binding"), SQLITE, Conflict),
    (_wrapped(exc.ProgrammingError, 'relation "steps" does not exist', "42P01"), POSTGRESQL, RecordUnusable),
    (_wrapped(exc.ProgrammingError, 'column "hint" does not exist', "42703"), POSTGRESQL, RecordUnusable),
    (_wrapped(exc.InternalError, "invalid page in block 3", "XX001"), POSTGRESQL, RecordUnusable),
    (_wrapped(exc.OperationalError, 'FATAL:  password authentication failed for user "x"'), POSTGRESQL, Refused),
    (_wrapped(exc.OperationalError, 'FATAL:  role "x" does not exist'), POSTGRESQL, Refused),
    (_wrapped(exc.OperationalError, 'FATAL:  no pg_hba.conf entry for host "x"'), POSTGRESQL, Refused),
    (_wrapped(exc.OperationalError, 'FATAL:  database "x" does not exist'), POSTGRESQL, RecordUnusable),
    (_wrapped(exc.OperationalError, "connection refused"), POSTGRESQL, Unavailable),
    (_wrapped(exc.OperationalError, "deadlock detected", "40P01"), POSTGRESQL, Unavailable),
    (_wrapped(exc.OperationalError, "terminating connection", "57P01"), POSTGRESQL, Unavailable),
    (_wrapped(exc.InternalError, "cannot execute INSERT in a read-only transaction", "25006"), POSTGRESQL, Refused),
    (_wrapped(exc.InterfaceError, "connection already closed"), POSTGRESQL, Unavailable),
    (exc.TimeoutError("QueuePool limit reached"), POSTGRESQL, Unavailable),
]


@pytest.mark.parametrize(("error", "url", "wanted"), MEANINGS, ids=lambda value: str(value)[:40])
def test_each_error_of_the_database_has_a_meaning(
    error: exc.SQLAlchemyError, url: sa.URL, wanted: type[SyncdError]
) -> None:
    found = error_of(error, url)
    assert type(found) is wanted
    assert "pa55word" not in found.message


def test_the_table_has_every_error_that_a_driver_may_raise_by_itself() -> None:
    """A new subclass of psycopg's OperationalError or InterfaceError is Unavailable without a change here."""
    kinds = [kind for _, kind in inspect.getmembers(psycopg.errors, inspect.isclass)]
    lost = [k for k in kinds if issubclass(k, psycopg.OperationalError | psycopg.InterfaceError)]
    assert len(lost) > 20
    for kind in lost:
        wrapped = exc.DBAPIError.instance("SELECT 1", {}, kind("x"), psycopg.Error, dialect=POSTGRESQL.get_dialect()())
        assert isinstance(wrapped, exc.DBAPIError)
        assert isinstance(error_of(wrapped, POSTGRESQL), Unavailable | Invalid | Refused), kind


def test_a_statement_sqlalchemy_refuses_is_a_bug_and_stays_one() -> None:
    with pytest.raises(exc.ArgumentError):
        error_of(exc.ArgumentError("no"), SQLITE)


def test_a_connection_lost_in_a_commit_leaves_the_outcome_open() -> None:
    def lose(url: sa.URL) -> None:
        with translate_commit_errors(url):
            raise _wrapped(exc.OperationalError, "server closed the connection")

    with pytest.raises(OutcomeUnknown):
        lose(POSTGRESQL)
    with pytest.raises(Unavailable) as caught:
        lose(SQLITE)
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_database_without_a_record_says_what_to_run_and_is_not_made(empty_database_url: str) -> None:
    state = State(empty_database_url)
    with pytest.raises(Invalid) as caught, state.read() as conn:
        releases.recent(conn, 1)
    file = sqlite_file(state.url)
    assert caught.value.hint == ("run: syncd db upgrade" if file is None else CREATE_HINT)
    assert file is None or not file.exists()
    state.close()


def test_a_connection_to_sqlite_keeps_little_of_a_large_record(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    state = State(f"sqlite:///{tmp_path}/state.db")
    with state.write() as conn:
        assert conn.exec_driver_sql("PRAGMA cache_size").scalar() == -CACHE_KIB
    state.close()


def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    state = State(f"postgresql:///syncd?host={tmp_path}")
    with pytest.raises(Unavailable), state.read():
        pass
    state.close()


def test_a_connection_the_server_ended_is_unavailable_and_the_next_works(postgresql_database: str) -> None:
    state = State(postgresql_database)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncd'"
    with pytest.raises(Unavailable), state.write() as conn:
        with psycopg.connect(postgresql_database, autocommit=True) as admin:
            admin.execute(cut)
        make_release(conn)
    with state.read() as conn:
        assert releases.recent(conn, 1) == []
    state.close()


LOOKS: list[Callable[[Path], contextlib.AbstractContextManager[None]]] = [
    lambda path: locked_file(path, wait=False),
    locked_file,
]


@pytest.mark.parametrize("lock", LOOKS, ids=["at once", "waiting"])
def test_a_file_lock_is_free_again_after_its_block(
    tmp_path: Path, lock: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    for _ in range(2):
        with lock(tmp_path / "lock"):
            pass


def test_a_file_lock_in_a_missing_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"), locked_file(tmp_path / "missing" / "lock"):
        pass


@pytest.mark.parametrize("lock", LOOKS, ids=["at once", "waiting"])
@pytest.mark.parametrize("content", ["", "4711\n", "their words", "1" * 40])
def test_a_linked_lock_file_is_neither_followed_nor_emptied(
    tmp_path: Path, lock: Callable[[Path], contextlib.AbstractContextManager[None]], content: str
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(content)
    (tmp_path / "lock").symlink_to(theirs)
    with pytest.raises(Invalid, match="is a symbolic link, not a lock file"), lock(tmp_path / "lock"):
        pass
    assert theirs.read_text() == content


@pytest.mark.parametrize("lock", LOOKS, ids=["at once", "waiting"])
def test_another_programs_file_is_not_emptied_for_a_lock(
    tmp_path: Path, lock: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("their words")
    (tmp_path / "lock").hardlink_to(theirs)
    os.mkfifo(tmp_path / "pipe")
    for name in ("lock", "pipe"):
        with pytest.raises(Invalid, match="is not a lock file of syncd"), lock(tmp_path / name):
            pass
    assert theirs.read_text() == "their words"


def test_a_lock_file_is_its_owners_alone(tmp_path: Path) -> None:
    with locked_file(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_record_and_its_directories_are_their_owners_alone(tmp_path: Path, umask: int) -> None:
    existing = tmp_path / "existing"
    existing.mkdir(mode=0o755)
    before = os.umask(umask)
    try:
        create(f"sqlite:///{existing / 'a' / 'b' / 'state.db'}")
    finally:
        os.umask(before)
    modes = {str(path.relative_to(existing)): path.stat().st_mode & 0o777 for path in existing.rglob("*")}
    assert {modes.pop("a"), modes.pop("a/b")} == {0o700}
    assert set(modes.values()) == {0o600}
    assert existing.stat().st_mode & 0o777 == 0o755


def test_a_record_is_not_created_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "state.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(Invalid, match="is a symbolic link that leads nowhere"):
        create(f"sqlite:///{tmp_path / 'state.db'}")
    assert not (tmp_path / "elsewhere.db").exists()
    create(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert create(f"sqlite:///{tmp_path / 'state.db'}") == []
