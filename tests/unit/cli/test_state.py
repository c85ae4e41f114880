"""`syncd state export` and `import`: the file, the refusals, and what is said about them."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from syncd.engine import lock

from tests.migration.stored import rows_of
from tests.unit.cli.calling import Calling
from tests.unit.cli.test_bad_input import refused
from tests.unit.cli.test_damaged_record import PAGE_BYTES


@pytest.fixture
def file(call: Calling) -> Path:
    """An export of a record with a hold and a token; the record is empty again."""
    bare = call.database.read_bytes()
    assert call("hold", "m", "--why", "black images").code == 0
    assert call("token", "create", "ci", "--role", "publish").code == 0
    exported = call.home / "record.jsonl"
    assert call("state", "export", str(exported)).code == 0
    for journal in call.home.glob("syncd.db-*"):
        journal.unlink()
    call.database.write_bytes(bare)
    return exported


def test_an_export_is_private_and_says_what_it_has(call: Calling) -> None:
    exported = call.home / "record.jsonl"
    before = os.umask(0)
    try:
        done = call("state", "export", str(exported), "-o", "json").document
    finally:
        os.umask(before)
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    *lines, last = exported.read_text().splitlines()
    assert (done["rows"], done["bytes"], done["sha256"]) == (
        len(lines) - 1,
        exported.stat().st_size,
        json.loads(last)["sha256"],
    )
    assert done["rows"] == sum(done["tables"].values())
    again = call.home / "again.jsonl"
    assert call("state", "export", str(again)).out.startswith(
        f"exported {done['rows']} rows of schema {done['schema']}"
    )


def test_an_export_overwrites_nothing_and_leaves_nothing_half_written(call: Calling) -> None:
    there = call.home / "there"
    there.write_text("mine")
    refused(call("state", "export", str(there)), 9, f"{there} exists already", "overwrites none")
    assert there.read_text() == "mine"
    refused(call("state", "export", str(call.home / "no" / "record.jsonl")), 2, "No such file or directory")
    data = bytearray(call.database.read_bytes())
    data[PAGE_BYTES:] = bytes(len(data) - PAGE_BYTES)
    call.database.write_bytes(data)
    refused(call("state", "export", str(call.home / "damaged.jsonl")), 2, "the record is damaged")
    assert not (call.home / "damaged.jsonl").exists()


def test_what_differs_is_listed_and_refused_until_it_is_accepted(call: Calling, file: Path) -> None:
    url = f"sqlite:///{call.database}"
    empty = rows_of(url)
    reported = call("state", "import", str(file))
    assert (reported.code, reported.out) == (9, "")
    warning, error, hint = reported.err.splitlines()
    assert warning.startswith("warning: b: prod of f in cn-shanghai: got no answer: ")
    assert error.startswith("error: the world is not as the file says: b: prod of f")
    assert "--accept-differences" in hint
    document = call("state", "import", str(file), "-o", "json").document
    assert document["exit_code"] == 9
    assert [(each["binding"], each["want"]) for each in document["differences"]] == [("b", "nothing")]
    assert rows_of(url) == empty
    accepted = call("state", "import", str(file), "--accept-differences", "--yes")
    assert accepted.code == 0
    assert accepted.out.startswith("imported ")
    assert "automatic releases are off: a record was imported although the world differs: b: prod" in accepted.out
    assert [held["model"] for held in call("status", "-o", "json").document["held"]] == ["m"]
    assert [token["name"] for token in call("token", "list", "-o", "json").document["tokens"]] == ["ci"]
    refused(call("state", "import", str(file)), 9, "is not an empty record: it has rows in ", "syncd db create")


def test_an_import_is_refused_while_a_process_works_on_the_record(call: Calling, file: Path) -> None:
    with lock.hold(f"sqlite:///{call.database}"):
        refused(call("state", "import", str(file), "--accept-differences"), 9, "is served by another process")


def test_files_that_are_no_export_are_refused(call: Calling, file: Path) -> None:
    pipe = call.home / "pipe"
    refused(call("state", "import", str(call.home / "nowhere")), 2, "nowhere: No such file", "syncd state export")
    refused(call("state", "import", str(call.home)), 2, "Is a directory")
    os.mkfifo(pipe)
    refused(call("state", "import", str(pipe)), 2, "is not a file", "save it as a file")
    file.write_bytes(file.read_bytes()[:-1])
    refused(call("state", "import", str(file), "--accept-differences"), 2, "line ", "cut", "nothing was written")


def test_a_record_of_a_newer_syncd_is_neither_exported_nor_imported_into(call: Calling, file: Path) -> None:
    with sqlite3.connect(call.database) as connection:
        connection.execute("UPDATE syncd_schema SET version_num = '9999'")
        connection.execute("UPDATE record_info SET value = '9999' WHERE name = 'schema'")
    connection.close()
    for command in (("export", str(call.home / "new.jsonl")), ("import", str(file))):
        refused(call("state", *command), 2, "has schema 9999, this syncd is of schema", "the syncd that upgraded")
    assert not (call.home / "new.jsonl").exists()
