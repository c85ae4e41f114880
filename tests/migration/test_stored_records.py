"""A record that an older commit wrote is upgraded by the installed command, and nothing in it is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from syncd.state import upgrade as record

from tests.acceptance.stage import environment
from tests.migration.stored import RECORDS, Changes, Tables, after, load, rows_of
from tests.support.databases import DATABASES, new_postgresql

COMMITS = sorted(path.name for path in RECORDS.iterdir() if path.is_dir())
Run = Callable[..., Any]


@pytest.fixture(params=[(commit, kind) for commit in COMMITS for kind in DATABASES], ids="-".join)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A commit, and the URL of a database with its record."""
    commit, kind = request.param
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'state.db'}"
        if kind == "postgresql":
            url = stack.enter_context(new_postgresql(request.getfixturevalue("postgresql_server")))
        load(commit, url)
        yield commit, url


@pytest.fixture
def syncd(old: tuple[str, str], tmp_path: Path) -> Run:
    """The command, with the configuration that the record was written with; what it prints as JSON."""
    commit, url = old
    config = tmp_path / "config.toml"
    written = url.replace("postgresql://", "postgresql+psycopg://").replace(":@", "@")
    config.write_text((RECORDS / commit / "config.toml").read_text().replace("DATABASE", written))
    env = environment(SYNCD_CONFIG=str(config), RECORD_SECRET="x", RECORD_HOOK="whsec_eHh4eHh4eHh4eHh4eHh4eHh4eHh4")

    def run(*arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
        command = [sys.executable, "-m", "syncd", *arguments, "-o", "json"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode in codes, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def lost(before: Tables, now: Tables) -> list[str]:
    """Every row of before that is not there now with all its values; new columns are no loss."""
    found = [f"table {table}" for table in before if table not in now]
    for table in before.keys() & now.keys():
        left = list(now[table])
        for row in before[table]:
            same = next((each for each in left if row.items() <= each.items()), None)
            if same is None:
                found.append(f"{table}: {row}")
            else:
                left.remove(same)
    return found


def test_every_row_is_there_after_the_upgrade_with_every_value(old: tuple[str, str], syncd: Run) -> None:
    _, url = old
    before = rows_of(url)
    at = record.current(url)
    assert at is not None
    ran = syncd("db", "upgrade")["applied"]
    record.check(url)
    now = rows_of(url)
    expected = after(before, ran)
    assert lost(expected, now) == []
    assert {table: len(now[table]) for table in expected} == {table: len(rows) for table, rows in expected.items()}
    assert rows_of(url) == now
    assert syncd("db", "upgrade")["applied"] == []


def test_every_table_of_the_record_has_rows_in_it(old: tuple[str, str]) -> None:
    """What no row is in, no upgrade could lose."""
    empty = [table for table, rows in rows_of(old[1]).items() if not rows]
    assert empty == []


def test_the_commands_show_what_was_live_held_frozen_and_under_way(old: tuple[str, str], syncd: Run) -> None:
    before = rows_of(old[1])
    syncd("db", "upgrade")
    status = syncd("status", codes=(0, 8))
    assert {row["model"] for row in status["live"]} >= {"sdxl", "lora", "chat", "speech"}
    assert {row["model"] for row in status["held"]} == {row["model"] for row in before["holds"]}
    assert {row["model"] for row in status["frozen"]} == {row["model"] for row in before["freezes"]}
    ended = {"live", "undone", "stalled", "superseded", "cancelled"}
    assert {row["release"] for row in status["in_flight"]} == {
        row["id"] for row in before["releases"] if row["phase"] not in ended
    }
    listed = syncd("releases", "--limit", "200")["releases"]
    assert {(row["release"], row["phase"]) for row in listed} == {
        (row["id"], row["phase"]) for row in before["releases"]
    }
    for row in {row["phase"]: row for row in before["releases"]}.values():  # one of each kind
        shown = syncd("show", row["id"])
        assert (shown["release"], shown["phase"]) == (row["id"], row["phase"])


def test_a_row_that_is_gone_or_changed_is_found_and_a_new_column_is_none() -> None:
    before: Tables = {"holds": [{"model": "a", "why": "x"}, {"model": "b", "why": "y"}], "freezes": []}
    assert lost(before, {"holds": [{"model": m, "why": w, "new": 1} for m, w in ("ax", "by")], "freezes": []}) == []
    assert lost(before, {"holds": [{"model": "a", "why": "x"}, {"model": "b", "why": ""}], "freezes": []}) == [
        "holds: {'model': 'b', 'why': 'y'}"
    ]
    assert lost(before, {"holds": before["holds"]}) == ["table freezes"]


def test_renames_and_conversions_of_a_migration_are_applied() -> None:
    changes = Changes(
        tables={"mends": "drift_resolutions"},
        columns={("drift_resolutions", "began_at"): "started_at"},
        values={("drift_resolutions", "who"): str.upper},
    )
    rows: Tables = {"mends": [{"who": "ann", "began_at": 1}], "holds": [{"who": "ann"}]}
    assert changes.applied(rows) == {
        "drift_resolutions": [{"who": "ANN", "started_at": 1}],
        "holds": [{"who": "ann"}],
    }
