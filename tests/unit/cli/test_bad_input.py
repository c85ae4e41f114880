"""Bad input of every kind ends in one line, a hint and a documented code; never in a stack trace."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from syncd.state.state import State

from tests.unit.cli.calling import Calling, Reported


def refused(reported: Reported, code: int, *words: str) -> None:
    assert (reported.code, reported.out) == (code, ""), reported
    assert reported.err.startswith("error: "), reported
    assert len(reported.err.splitlines()) <= 2, reported
    assert all(word in reported.err for word in words), reported


def test_a_missing_configuration(bare: Calling) -> None:
    refused(bare("status", "-c", "/nowhere/config.toml"), 2, "/nowhere/config.toml", "hint:")


def test_a_configuration_that_is_a_directory(bare: Calling) -> None:
    refused(bare("status", "-c", str(bare.home)), 2, str(bare.home))


def test_bad_toml_names_the_line(bare: Calling) -> None:
    bare.config.write_text("[state\n")
    refused(bare("config", "check"), 2, "line 1")


def test_an_unknown_key_is_named(bare: Calling) -> None:
    bare.change("[policy]", "[policy]\nrety_base_s = 1.0")
    refused(bare("config", "check"), 2, "policy.rety_base_s")
    document = bare("config", "check", "-o", "json").document
    assert document["exit_code"] == 2
    assert "rety_base_s" in document["error"]


def test_a_secret_that_is_not_set(bare: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLING_SECRET")
    refused(bare("status"), 2, "CALLING_SECRET")


@pytest.mark.parametrize("command", [("status",), ("releases",), ("publish", "m@v1"), ("run",), ("verify",)])
def test_a_record_that_was_never_made(bare: Calling, command: tuple[str, ...]) -> None:
    refused(bare(*command), 2, f"no record at {bare.database}", "is the disk mounted?", "syncd db create")
    refused(bare("db", "upgrade"), 2, f"no record at {bare.database}", "syncd db create")
    assert not bare.database.exists(), "neither a command that reads nor an upgrade makes a record"


def test_an_empty_file_instead_of_a_record(bare: Calling) -> None:
    bare.database.touch()
    refused(bare("status"), 2, "no record at", "syncd db create")
    refused(bare("db", "upgrade"), 2, "no record at", "syncd db create")


def test_a_record_of_a_newer_syncd(call: Calling) -> None:
    with sqlite3.connect(call.database) as connection:
        connection.execute("UPDATE syncd_schema SET version_num = '9999'")
    connection.close()
    refused(call("status"), 2, "9999", "newer syncd")
    refused(call("db", "upgrade"), 2, "9999", "newer syncd")


def test_a_file_that_is_no_database(bare: Calling) -> None:
    bare.database.write_bytes(b"not a database, but long enough to have a header of one" * 40)
    refused(bare("status"), 2, "not a database")
    refused(bare("db", "upgrade"), 2, "not a database")


def test_a_record_below_a_directory_that_is_not_there(bare: Calling) -> None:
    bare.change(f"sqlite:///{bare.home}/syncd.db", f"sqlite:///{bare.home}/nowhere/syncd.db")
    refused(bare("db", "upgrade"), 2, "nowhere", "is the disk mounted?")
    refused(bare("status"), 2, "nowhere", "is the disk mounted?")
    assert not (bare.home / "nowhere").exists()
    assert bare("db", "create").code == 0
    assert (bare.home / "nowhere").stat().st_mode & 0o777 == 0o700
    assert (bare.home / "nowhere" / "syncd.db").stat().st_mode & 0o777 == 0o600


def test_a_record_that_another_process_writes_can_be_read(call: Calling) -> None:
    connection = sqlite3.connect(call.database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        assert call("status").code == 0
    finally:
        connection.close()


def test_status_and_health_say_that_a_locked_record_keeps_the_daemon_from_reporting(call: Calling) -> None:
    assert "record" not in call("status").out
    with closing(sqlite3.connect(call.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shown = call("status")
        assert shown.code == 0
        assert "daemon: unknown: the record is locked\n" in shown.out
        assert "not healthy: record.lock since " in shown.out
        assert f"   to do: end the program that holds it: `fuser -v {call.database}`" in shown.out
        bad = call("health")
        assert bad.code == 7
        assert "syncd run" not in bad.out
        other.execute("ROLLBACK")
    assert call("status").out.startswith("daemon: none is running\n")


def test_a_locked_record_is_said_to_be_locked(call: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.state.state.BUSY_TIMEOUT_MS", 50)
    connection = sqlite3.connect(call.database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        refused(call("hold", "m"), 7, "locked")
    finally:
        connection.close()


def test_two_that_serve_one_record(call: Calling) -> None:
    from syncd.engine import lock

    url = f"sqlite:///{call.database}"
    with lock.announce(url, lock.Claimant.DAEMON), lock.hold(url):
        refused(call("run"), 9, "served by another process", str(os.getpid()), "stop that one first")


@pytest.mark.parametrize(
    "name",
    ["x y", "x@", "@v1", "@", "../x@v1", "m@../v1", "/m@v1", "m@v1@v2", "m@v1\0", "m\n@v1", "M x@v1",
     "m@" + "a" * 10_000, "a" * 10_000 + "@v1", "é@v1", "m@-rf", "\udcff@v1", ""],
    ids=lambda name: ascii(name)[:20],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_before_anything_is_asked(call: Calling, name: str) -> None:
    for command in ("publish", "plan"):
        reported = call(command, "--", name)
        refused(reported, 2)
        assert len(reported.err) < 600


def test_a_name_without_a_version_that_is_no_model_is_not_found(call: Calling) -> None:
    for command in ("publish", "plan"):
        refused(call(command, "x"), 3, "'x'", "models with bindings: m")


MODEL_COMMANDS = ["status", "hold", "unhold", "freeze", "unfreeze", "rollback", "verify", "releases"]


@pytest.mark.parametrize("command", MODEL_COMMANDS)
@pytest.mark.parametrize("name", ["../x", "x\0", "a" * 10_000, "x@v1"], ids=lambda name: ascii(name)[:12])
def test_a_model_that_cannot_be_is_refused(call: Calling, command: str, name: str) -> None:
    reported = call(command, name)
    refused(reported, 2)
    assert len(reported.err) < 600


@pytest.mark.parametrize("command", MODEL_COMMANDS)
def test_a_model_that_nothing_serves_is_not_found(call: Calling, command: str) -> None:
    refused(call(command, "nobody"), 3, "nobody")
    assert call(command, "nobody", "-o", "json").document["exit_code"] == 3


@pytest.mark.parametrize("release", ["r-99", "7", "../x", "", "r-1\0", "a" * 10_000], ids=lambda name: ascii(name)[:8])
def test_a_release_that_there_is_not_is_not_found(call: Calling, release: str) -> None:
    for command in ("show", "cancel", "approve"):
        reported = call(command, release)
        refused(reported, 3)
        assert len(reported.err) < 600


def test_a_negative_timeout_is_a_mistake(call: Calling) -> None:
    refused(call("publish", "m@v1", "--timeout", "-1"), 2, "--timeout")


def test_from_something_that_is_no_version(call: Calling, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(call("publish", "m@v1", "--from", str(tmp_path / "nowhere")), 2, "not a directory")
    refused(call("publish", "m@v1", "--from", str(empty)), 2, "no files")
    (empty / "link").symlink_to("/etc/passwd")
    refused(call("publish", "m@v1", "--from", str(empty)), 2, "link")
    assert list((call.home / "registry" / "m").iterdir()) == []


def test_from_a_file_whose_name_is_in_another_encoding(call: Calling, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "model.bin").write_bytes(b"w")
    (odd / os.fsdecode(b"gr\xfc\xdfe.txt")).write_bytes(b"x")
    refused(call("publish", "m@v1", "--from", str(odd)), 2, r"'gr\udcfc\udcdfe.txt' is refused: it is not valid UTF-8")
    assert list((call.home / "registry" / "m").iterdir()) == []


def test_plan_of_a_version_that_the_registry_has_not(call: Calling) -> None:
    refused(call("plan", "m@v1"), 3, "v1")


def test_plan_with_a_registry_that_is_not_there(call: Calling) -> None:
    (call.home / "registry" / "m").rmdir()
    (call.home / "registry").rmdir()
    reported = call("plan", "m@v1")
    refused(reported, reported.code, "registry")
    assert reported.code in {3, 7}


def test_plan_with_a_nas_that_is_not_mounted(call: Calling) -> None:
    call.change('server = "nas.local"', 'server = "nas.local"\nmount_marker = "MOUNTED"')
    version = call.home / "registry" / "m" / "v1"
    version.mkdir()
    (version / "a").write_bytes(b"a")
    (version / "SHA256SUMS").write_text(f"{'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb'}  a\n")
    refused(call("plan", "m@v1"), 7, "MOUNTED")


def test_plan_with_an_endpoint_that_refuses_connections(call: Calling) -> None:
    version = call.home / "registry" / "m" / "v1"
    version.mkdir()
    (version / "a").write_bytes(b"a")
    (version / "SHA256SUMS").write_text(f"{'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb'}  a\n")
    refused(call("plan", "m@v1"), 7, "127.0.0.1")
    verbose = call("plan", "m@v1", "--verbose")
    assert "cause: " in verbose.err
    assert call("plan", "m@v1", "--verbose", "-o", "json").document["causes"]


def test_a_long_hold_reason_and_odd_characters_are_kept_as_they_are(call: Calling) -> None:
    why = "[bold]é→\u202e" + "x" * 5000
    assert call("hold", "m", "--why", why).code == 0
    (held,) = call("status", "-o", "json").document["held"]
    assert held["why"] == why
    assert "[bold]" in call("status").out


@pytest.mark.parametrize("why", ["a\nb", "\x1b[2Jgone", "a\x7fb", "\x9b2J"])
@pytest.mark.parametrize(
    "command",
    [("hold", "m"), ("freeze", "m"), ("freeze",), ("rollback", "m"), ("cancel", "r-1"), ("retire", "m@v1"),
     ("unquarantine", "m@v1"), ("adopt", "b"), ("restore", "b")],
)  # fmt: skip
def test_a_reason_with_control_characters_is_refused(call: Calling, command: tuple[str, ...], why: str) -> None:
    reported = call(*command, "--why", why)
    refused(reported, 2, "control characters")
    assert why not in reported.err


@pytest.mark.parametrize("hours", ["nan", "inf", "1e-300", "0.01"])
def test_a_freeze_that_is_over_at_once_is_refused(call: Calling, hours: str) -> None:
    assert call("freeze", "m", "--hours", hours).code == 2
    assert call("status", "-o", "json").document["frozen"] == []


def test_a_users_name_with_control_characters_is_shown_without_them(
    call: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ann\x1b[2J")
    assert call("hold", "m").code == 0
    (held,) = call("status", "-o", "json").document["held"]
    assert held["who"].startswith("ann?[2J@")


def test_health_without_a_daemon_is_unavailable(call: Calling) -> None:
    reported = call("health")
    assert reported.code == 7
    assert "no daemon reported in the last 30 seconds" in reported.out
    found = call("health", "-o", "json").document
    assert (found["status"], found["alive"], found["processes"]) == ("bad", False, [])
    assert call("health", "--liveness", "-o", "json").document == {"alive": False, "processes": []}
    assert call("health", "--liveness").code == 7


def test_db_create_twice_is_success_and_says_so(bare: Calling) -> None:
    first = bare("db", "create", "-o", "json").document
    assert first["created"]
    assert first["applied"]
    # The one binding's region does not answer here, so nothing is known of what it carries.
    assert "could not be asked" in first["automatic_releases_off"]
    again = bare("db", "create", "-o", "json").document
    assert (again["created"], again["applied"]) == (False, [])
    assert again["automatic_releases_off"] == first["automatic_releases_off"]
    assert "exists already" in bare("db", "create").out
    assert bare("db", "upgrade", "-o", "json").document == {"applied": []}
    assert "up to date" in bare("db", "upgrade").out


def test_unreached_regions_are_reported_until_the_world_is_adopted(bare: Calling) -> None:
    call = bare.upgraded()
    for command in (("status",), ("config", "check")):
        reported = call(*command)
        assert reported.code == 0
        assert "automatic releases are off" in reported.out
        assert "syncd db adopt-world" in reported.out
    reported = call("db", "adopt-world", "-o", "json")
    assert reported.code == 7
    assert reported.document["automatic_releases"] is False


def test_a_record_of_another_build_is_refused_by_name(call: Calling) -> None:
    with sqlite3.connect(call.database) as connection:
        connection.execute("ALTER TABLE releases DROP COLUMN hint")
        connection.execute("DROP TABLE bases_seen")
    connection.close()
    for command in (("status",), ("db", "upgrade"), ("health",), ("run",)):
        refused(call(*command), 2, "lacks bases_seen", "another build", "db adopt-world")


def test_reading_goes_on_while_a_thread_writes(call: Calling) -> None:
    state = State(f"sqlite:///{call.database}")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with state.write() as conn:
                conn.exec_driver_sql("UPDATE syncd_schema SET version_num = version_num")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert [call("status").code for _ in range(3)] == [0, 0, 0]
    finally:
        stop.set()
        thread.join()
        state.close()
