"""A SQLite record that is damaged: each command ends in one line and a documented code, and changes nothing of it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from syncd.cli.exit_codes import Exit

from tests.unit.cli.calling import Calling
from tests.unit.registry.trees import THEN_S, write

PAGE_BYTES = 4096


def _noise(size_bytes: int) -> bytes:
    return random.Random(12).randbytes(size_bytes)


def _middle(data: bytes) -> bytes:
    """Every page but the first, whose table of contents stays readable."""
    return data[:PAGE_BYTES] + _noise(len(data) - PAGE_BYTES)


def _quarter(data: bytes) -> bytes:
    start = len(data) // 2
    size_bytes = len(data) // 4
    return data[:start] + _noise(size_bytes) + data[start + size_bytes :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "every page random": _middle,
    "a quarter random": _quarter,
    "cut in half": lambda data: data[: len(data) // 2],
    "cut in a page": lambda data: data[: len(data) // 3 + 100],
    "head overwritten": lambda data: _noise(100) + data[100:],
    "first page overwritten": lambda data: data[:100] + _noise(PAGE_BYTES - 100) + data[PAGE_BYTES:],
    "all zero": lambda data: bytes(len(data)),
    "text": lambda data: b"404 page not found\n" * (len(data) // 19),
}
DAMAGED = ("database disk image is malformed", "file is not a database")
COMMANDS = [
    "publish m@v1",
    "status",
    "status m",
    "watch m",
    "releases",
    "show r-1",
    "versions m",
    "plan m@v1",
    "rollback m --why bad",
    "cancel r-1",
    "dismiss r-1 --why why",
    "retry",
    "approve r-1",
    "hold m --why why",
    "unhold m",
    "freeze --why why",
    "unfreeze",
    "drift",
    "adopt m --why why",
    "restore m --why why",
    "retire m@v1 --why why",
    "unquarantine m@v1 --why why",
    "verify",
    "repair m@v1",
    "health",
    "token create ci --role publish",
    "token list",
    "token revoke ci",
    "config check",
    "db create",
    "db upgrade",
    "db adopt-world",
]


@pytest.fixture
def filled(call: Calling) -> Calling:
    """A record with something in it, all in its one file; and a version that could be published."""
    write(call.home / "registry" / "m" / "v1", {"weights.bin": b"w", "READY": b""}, THEN_S)
    for command in ("hold m --why why", "freeze --why why", "token create ci --role publish"):
        assert call(*command.split()).code == 0, command
    connection = sqlite3.connect(call.database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return call


def _without_journal(database: Path) -> None:
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _tables(database: Path) -> list[int]:
    """The first page of each table, but of those that every command reads first."""
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name NOT IN ('syncd_schema', 'record_info')"
        )
        return [page for (page,) in rows]
    finally:
        connection.close()


def _assert_one_line(call: Calling, *commands: str) -> None:
    """Each command says in one line that the record is damaged, or ends as it does where it reads nothing of that."""
    for command in commands:
        reported = call(*command.split())
        said = f"{command}: {reported}"
        assert "Traceback" not in reported.out + reported.err, said
        if not any(words in reported.out + reported.err for words in DAMAGED) or reported.code == 0:
            assert reported.code in {Exit.OK, Exit.NOT_FOUND, Exit.UNAVAILABLE}, said
            continue
        assert reported.code == Exit.USAGE, said
        error, hint = reported.err.splitlines()
        assert error.startswith(f"error: sqlite:///{call.database}: "), said
        assert error.endswith(DAMAGED), said
        assert hint.startswith("hint:  the record is damaged: stop the daemon, move the database aside"), said


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_command_names_a_damaged_record_in_one_line(filled: Calling, damage: str) -> None:
    damaged = DAMAGE[damage](filled.database.read_bytes())
    _without_journal(filled.database)
    filled.database.write_bytes(damaged)
    _assert_one_line(filled, *COMMANDS, "run")
    assert filled.database.read_bytes() == damaged, "no command writes to it"


def test_each_command_names_damage_that_only_some_tables_have(filled: Calling) -> None:
    damaged = bytearray(filled.database.read_bytes())
    for page in _tables(filled.database):
        damaged[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = _noise(PAGE_BYTES)
    for command in COMMANDS:
        _without_journal(filled.database)
        filled.database.write_bytes(damaged)
        _assert_one_line(filled, command)
    assert filled("status").code == Exit.USAGE, "the check of the schema does not see it"
