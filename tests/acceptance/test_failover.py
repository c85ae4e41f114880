"""A daemon whose PostgreSQL is another server from one moment to the next, or ends its sessions: real processes.

The daemon takes its lock again where nobody else has it, or leaves with 9; two never work at the same time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from syncd.engine import lock

from tests.acceptance.stage import Daemon, Stage, daemon_of, small, until
from tests.support.databases import at
from tests.support.directories import in_memory
from tests.support.lines import Line, through
from tests.unit.engine.test_lock import end_holders, has_waiter

MISSED = {"pass.failed", "job.failed", "poll.failed", "lease.not_renewed"}  # without its database it does nothing
_DRIVER = "postgresql+psycopg"


@dataclass
class Server:
    """A PostgreSQL server as processes of its own, on a socket in its directory."""

    directory: Path
    server: Any

    @property
    def url(self) -> str:
        """Of the record, without the line in front."""
        return at(self.server.get_uri(), "syncd").replace("postgresql:", f"{_DRIVER}:", 1).replace(":@", "@", 1)

    @property
    def socket(self) -> str:
        return str(self.directory / ".s.PGSQL.5432")

    def stop(self) -> None:
        """Repeating it is success."""
        self.server.cleanup()


@dataclass
class Servers:
    """The first server and those that follow it, each on a copy of the data of the one before."""

    home: Path
    started: list[Server]

    @property
    def newest(self) -> Server:
        return self.started[-1]

    def start(self, directory: Path) -> Server:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            from pgserver.postgres_server import get_server
        self.started.append(Server(directory, get_server(directory, cleanup_mode="stop")))
        return self.newest

    def stop_and_copy(self) -> Server:
        """Stop the newest server, and start another one on a copy of its data."""
        self.newest.stop()
        copy = self.home / f"data-{len(self.started)}"
        shutil.copytree(self.newest.directory, copy, copy_function=shutil.copy2, ignore=shutil.ignore_patterns(".s.*"))
        owner = self.newest.directory.stat()
        for path in (copy, *copy.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        (copy / "postmaster.pid").unlink(missing_ok=True)
        return self.start(copy)


@pytest.fixture
def servers() -> Iterator[Servers]:
    home = Path(tempfile.mkdtemp(prefix="syncd-failover-", dir=in_memory()))
    home.chmod(0o755)  # run by root, a server is another user
    servers = Servers(home, [])
    first = servers.start(home / "data")
    with psycopg.connect(first.server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE syncd")
    yield servers
    for each in servers.started:
        each.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def line(servers: Servers) -> Iterator[Line]:
    line = Line(servers.newest.socket)
    yield line
    line.close()


@pytest.fixture
def stage(one_region: Stage, servers: Servers, line: Line) -> Stage:
    """A fleet whose record is behind the line."""
    one_region.configure(
        (f"sqlite:///{one_region.database}", through(line, servers.newest.url)), ("drain_s = 10.0", "drain_s = 1.0")
    )
    assert one_region.run("db", "create").code == 0
    return one_region


@contextmanager
def direct(stage: Stage, server: Server) -> Iterator[Daemon]:
    """A second daemon over the same record, that reaches it by another way."""
    config = stage.home / "second.toml"
    url = stage.config.read_text().partition('[state]\nurl = "')[2].partition('"')[0]
    config.write_text(stage.config.read_text().replace(url, server.url))
    with daemon_of(stage.home / "second.log", stage.env | {"SYNCD_CONFIG": str(config)}) as daemon:
        yield daemon


def retaken(daemon: Daemon) -> int:
    return len(daemon.events("lock.retaken"))


def told(daemon: Daemon) -> list[dict[str, Any]]:
    """The log's events; the message that a command ends with is none."""
    return [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]


def assert_left(daemon: Daemon) -> None:
    """It said once why it leaves, in its log and as a command does."""
    assert [event["event"] for event in told(daemon) if event["event"] in {"lock.lost", "process.stopped"}] == [
        "lock.lost",
        "process.stopped",
    ]
    last = [line for line in daemon.log.read_text().splitlines() if not line.startswith("{")]
    assert [line.partition(":")[0] for line in last] == ["error", "hint"], last
    assert last[0].endswith("is served by another process")


def test_after_a_failover_the_daemon_has_its_lock_again_and_works_and_a_second_one_cannot_start(
    stage: Stage, servers: Servers, line: Line
) -> None:
    with stage.daemon() as daemon:
        assert stage.publish("v1", small("v1")).code == 0
        line.cut()
        servers.stop_and_copy()
        until(lambda: daemon.events("pass.failed"), "the daemon to miss its database")
        line.upstream = servers.newest.socket
        line.is_up = True
        until(lambda: retaken(daemon) == 2, "both locks of the daemon to be taken again")
        second = stage.run("run")
        assert second.code == 9
        assert "is served by another process" in second.err
        assert stage.publish("v2", small("v2")).code == 0
        assert stage.live() == {"v2"}
        assert daemon.stop() == 0
        assert daemon.events("lock.lost") == []


def test_a_daemon_that_comes_back_after_a_failover_leaves_to_the_one_that_works_by_then(
    stage: Stage, servers: Servers, line: Line
) -> None:
    with stage.daemon() as first:
        assert stage.publish("v1", small("v1")).code == 0
        line.cut()
        servers.stop_and_copy()
        with direct(stage, servers.newest) as second:
            until(lambda: first.events("pass.failed"), "the first daemon to miss its database")
            seen = len(told(first))
            line.upstream = servers.newest.socket
            line.is_up = True
            assert first.process.wait(60) == 9
            assert_left(first)
            begun = {event["event"] for event in told(first)[seen:] if event["logger"].startswith("syncd.")}
            assert begun <= {*MISSED, "lock.lost", "process.stopped"}, begun
            assert stage.publish("v2", small("v2")).code == 0
            assert stage.live() == {"v2"}
            assert second.events("lock.lost") == []


def test_a_session_that_is_terminated_costs_the_lock_only_where_another_one_waits_for_it(
    stage: Stage, servers: Servers
) -> None:
    url = servers.newest.url
    with stage.daemon() as daemon:
        end_holders(url, key=lock._ADVISORY_KEY)
        end_holders(url, key=lock._ADVISORY_KEY + lock.Claimant.DAEMON.value)
        until(lambda: retaken(daemon) == 2, "both locks of the daemon to be taken again")
        with psycopg.connect(url.replace(f"{_DRIVER}:", "postgresql:"), autocommit=True) as other:
            waiting = threading.Thread(
                target=other.execute, args=("SELECT pg_advisory_lock(%s)", [lock._ADVISORY_KEY]), daemon=True
            )
            waiting.start()
            until(lambda: has_waiter(url), "the other session to wait for the lock")
            end_holders(url, key=lock._ADVISORY_KEY)
            assert daemon.process.wait(60) == 9
            waiting.join(30)
        assert_left(daemon)
