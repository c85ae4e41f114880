"""A record full of things is exported and imported, from either database into either, and no value of it changes."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from syncd.artifact.digest import Digest
from syncd.engine.upgrade import create, upgrade
from syncd.errors import Conflict, Invalid
from syncd.state.access import record_info
from syncd.state.db import schema
from syncd.state.db.rows import JsonType
from syncd.state.db.schema import metadata
from syncd.state.db.schema_trust import event_links, verdicts, waivers
from syncd.state.export.record import examine, export_record, import_record
from syncd.state.releases import audit, events
from syncd.state.state import State
from syncd.trust.policy import Outcome

from tests.migration.stored import RECORDS, Tables, load, rows_of
from tests.support.databases import DATABASES, new_postgresql

(COMMIT,) = (path.name for path in RECORDS.iterdir() if path.is_dir())
NewDatabase = Callable[[str], str]


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """The URL of an empty database of a kind."""
    numbers = iter(range(100))
    with ExitStack() as stack:

        def made(kind: str) -> str:
            if kind == "sqlite":
                return f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
            return stack.enter_context(new_postgresql(request.getfixturevalue("postgresql_server")))

        yield made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The stored record, from SQLite."""
    url = f"sqlite:///{tmp_path_factory.mktemp('export') / 'state.db'}"
    load(COMMIT, url)
    upgrade(url)
    return exported(url)


def exported(url: str) -> bytes:
    with closing(State(url)) as state, state.read() as conn:
        stream = io.BytesIO()
        _, writer = export_record(conn, stream, "2026-11-30T20:00:00.000000+00:00", lambda: None)
        writer.finish()
    return stream.getvalue()


def imported(url: str, data: bytes) -> None:
    with closing(State(url)) as state, state.write() as conn:
        import_record(conn, io.BytesIO(data), "record.jsonl", "the record", lambda: None)


def refused(url: str, data: bytes) -> Invalid:
    """What the import says; it has written nothing."""
    before = rows_of(url)
    with pytest.raises(Invalid) as found:
        imported(url, data)
    assert rows_of(url) == before
    return found.value


def signed(lines: list[dict[str, Any]]) -> bytes:
    """A file of these lines with a right checksum."""
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return data + json.dumps({"sha256": hashlib.sha256(data).hexdigest()}).encode() + b"\n"


def lines_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()[:-1]]


def full(url: str) -> int:
    """The stored record, with rows in the tables that came later too, and odd values. The newest event was removed."""
    load(COMMIT, url)
    upgrade(url)
    digest = Digest("ab" * 32)
    with closing(State(url)) as state, state.write() as conn:
        now = state.now(conn)
        audit.extend(conn)
        newest: int = conn.execute(sa.select(sa.func.max(schema.events.c.id))).scalar_one()
        conn.execute(sa.delete(event_links).where(event_links.c.event_id == newest))
        conn.execute(sa.delete(schema.events).where(schema.events.c.id == newest))
        person = {"who": "ann", "why": "a\nb \x7f", "since": now}
        conn.execute(sa.insert(schema.holds).values(person | {"model": "模型 'é \U0001f980"}))
        conn.execute(sa.insert(waivers).values(person | {"digest": digest, "version_id": "v", "until": now}))
        version = conn.execute(sa.select(schema.versions.c.id)).scalars().first()
        odd = {"big": 1 << 62, "bigger": 1 << 70, "half": 0.1, "nothing": None, "text": "é\n", "list": [True, {}, ""]}
        verdict = {"digest": digest, "policy": digest, "tools": "", "model": "m", "version_id": version, "at": now}
        conn.execute(sa.insert(verdicts).values(verdict | {"outcome": Outcome.PASSED, "findings": odd, "evidence": {}}))
        conn.execute(sa.insert(schema.contents).values(sha256=digest, blocks=bytes(range(256))))
        values = {"name": "far", "event_id": (1 << 63) - 1, "failures": 1, "due_at": now}
        conn.execute(sa.insert(metadata.tables["notifiers"]).values(values))
    return newest


def alike(tables: Tables) -> Tables:
    """Rows as either database would have them: SQLite keeps JSON as text, and booleans as numbers."""
    return {
        name: sorted(({key: _alike(name, key, value) for key, value in row.items()} for row in rows), key=repr)
        for name, rows in tables.items()
    }


def _alike(table: str, column: str, value: Any) -> Any:
    kind = metadata.tables[table].c[column].type
    if isinstance(kind, JsonType) and isinstance(value, str):
        value = json.loads(value)
    if isinstance(kind, JsonType):
        return _canonical(value)
    return bool(value) if isinstance(kind, sa.Boolean) else value


def _canonical(value: Any) -> str:
    """PostgreSQL orders the keys of JSON by itself."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("to", DATABASES)
@pytest.mark.parametrize("origin", DATABASES)
def test_every_row_arrives_with_every_value_and_numbers_go_on(new_database: NewDatabase, origin: str, to: str) -> None:
    source, target = new_database(origin), new_database(to)
    newest = full(source)
    create(target)
    data = exported(source)
    imported(target, data)
    before, now = rows_of(source), rows_of(target)
    assert alike(now) == alike(before)
    assert {table: len(rows) for table, rows in now.items()} == lines_of(data)[0]["counts"]
    assert sorted(map(_canonical, lines_of(exported(target)))) == sorted(map(_canonical, lines_of(data)))
    with closing(State(target)) as state:
        with state.read() as conn:
            assert audit.verify(conn, {}).breaks == ()
        with state.write() as conn:
            events.append(conn, "hold.put", now=state.now(conn))
            assert conn.execute(sa.select(sa.func.max(schema.events.c.id))).scalar_one() == newest + 1


@pytest.mark.parametrize("kind", DATABASES)
def test_a_record_as_db_create_leaves_it_is_empty_and_any_other_is_not(
    new_database: NewDatabase, file: bytes, kind: str
) -> None:
    url = new_database(kind)
    create(url)
    with closing(State(url)) as state, state.write() as conn:
        record_info.switch_automatic_off(conn, "target hz has copies of holds", state.now(conn))
    imported(url, file)
    with closing(State(url)) as state, state.read() as conn:
        assert record_info.automatic_off(conn) == ""
    rows = rows_of(url)
    with pytest.raises(Conflict, match=r"is not an empty record: it has rows in .*\breleases\b"):
        imported(url, file)
    assert rows_of(url) == rows
    with closing(State(url)) as state, state.write() as conn:
        assert conn.execute(sa.delete(schema.holds)).rowcount > 0


def _change(line: int, **values: Any) -> Callable[[bytes], bytes]:
    """Change keys of a line (from 1), under a right checksum."""

    def changed(data: bytes) -> bytes:
        lines = lines_of(data)
        lines[line - 1] = {**lines[line - 1], **values}
        return signed(lines)

    return changed


def _change_row(table: str, column: str, value: Any) -> Callable[[bytes], bytes]:
    """Change a value of the first row of a table, under a right checksum."""

    def changed(data: bytes) -> bytes:
        lines = lines_of(data)
        next(line for line in lines if line.get("table") == table)["row"][column] = value
        return signed(lines)

    return changed


def _without(table: str) -> Callable[[bytes], bytes]:
    """Leave out a table's rows, and say so."""

    def changed(data: bytes) -> bytes:
        header, *rows = lines_of(data)
        header["counts"][table] = 0
        return signed([header, *(row for row in rows if row["table"] != table)])

    return changed


OTHER_SUM = r"line \d+: sha256 of the lines before it is [0-9a-f]{64}, it says [0-9a-f]{64}: the file was changed"
BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", r"line 1: the file ends without its checksum, so it was cut"),
    "text": (lambda _: b"404 page not found\n", r"line 1: is not JSON"),
    "a list": (lambda _: b"[]\n", r"line 1: is not a JSON object"),
    "another export": (lambda _: b'{"kind":"hold.put"}\n', r"line 1: is not the header of an exported record"),
    "deep": (lambda _: b"[" * 100_000 + b"\n", r"line 1: is not JSON"),
    "a database": (lambda _: bytes(range(256)) + b"\n", r"line 1: is not JSON"),
    "cut within a line": (lambda data: data[: len(data) // 2], r"line \d+: the file ends within it, so it was cut"),
    "cut at a line": (
        lambda data: b"".join(data.splitlines(keepends=True)[:100]),
        r"line 101: the file ends without its checksum, so it was cut",
    ),
    "without its last newline": (lambda data: data[:-1], r"line \d+: the file ends within it"),
    "a value changed": (
        lambda data: data.replace(b"sdxl", b"sdxm", 1),
        OTHER_SUM,
    ),
    "a line less": (
        lambda data: b"".join((lines := data.splitlines(keepends=True))[:5] + lines[6:]),
        OTHER_SUM,
    ),
    "appended": (lambda data: data + data, r"line \d+: stands after the checksum"),
    "format": (_change(1, syncd_export=2), r"line 1: has format 2, this syncd reads format 1"),
    "older schema": (_change(1, schema="0007"), r"line 1: has schema 0007, this syncd needs \d{4}"),
    "newer schema": (_change(1, schema="9999"), r"line 1: has schema 9999, this syncd needs \d{4}"),
    "no counts": (_change(1, counts=None), r"line 1: has no time, counts or sequences"),
    "tables": (_change(1, counts={"models": 1}), r"line 1: its tables are not those of schema \d{4}: .*models"),
    "neither row nor checksum": (_change(3, why=""), r"line 3: expected a row of a table, or the checksum"),
    "an unknown table": (_change(2, table="models"), r"line 2: models is not a table of the record"),
    "an order": (
        lambda data: signed([(lines := lines_of(data))[0], *reversed(lines[1:])]),
        r"line \d+: \w+ stands out of order",
    ),
    "columns": (_change_row("holds", "colour", "red"), r"line \d+: the columns of holds are not .*: colour"),
    "a number": (_change_row("releases", "number", "1"), r"line \d+: releases: number: expected an integer of 64 bits"),
    "a large number": (_change_row("releases", "number", 1 << 63), r"line \d+: releases: number: expected an integer"),
    "true as a number": (_change_row("releases", "number", True), r"line \d+: releases: number: expected an integer"),
    "a truth": (_change_row("releases", "rollback", 1), r"line \d+: releases: rollback: expected true or false"),
    "a text": (_change_row("holds", "who", None), r"line \d+: holds: who: expected text, got 'None'"),
    "bytes": (_change_row("contents", "blocks", "*"), r"line \d+: contents: blocks is not base64"),
    "a phase": (_change_row("releases", "phase", "gone"), r"line \d+: the database refuses this row of releases: "),
    "a reference": (_without("versions"), r"line \d+: the database refuses this row of files: "),
    "a double": (_change_row("releases", "id", "r-2"), r"line \d+: the database refuses this row of releases: "),
}


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An empty record of each kind, which no refused import changes."""
    with ExitStack() as stack:
        server = request.getfixturevalue("postgresql_server")
        urls = {
            "sqlite": f"sqlite:///{tmp_path_factory.mktemp('empty') / 'state.db'}",
            "postgresql": stack.enter_context(new_postgresql(server)),
        }
        for url in urls.values():
            create(url)
        yield urls


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_refused_by_line_and_nothing_is_written(database: dict[str, str], file: bytes, bad: str) -> None:
    change, message = BAD[bad]
    data = change(file)
    assert data != file
    for url in database.values():
        found = refused(url, data)
        assert re.fullmatch(f"record.jsonl: {message}.*", found.message), found.message
        assert found.hint.startswith("nothing was written"), found.hint


def test_what_only_postgresql_refuses_is_refused_by_line(database: dict[str, str], file: bytes) -> None:
    for change in (_change_row("holds", "why", "a\x00b"), _change_row("events", "detail", {"why": "\ud800"})):
        found = refused(database["postgresql"], change(file))
        assert re.match(r"record.jsonl: line \d+: the database refuses this row of (holds|events): ", found.message)


def test_an_older_schema_is_refused_with_the_way_to_import_it(file: bytes) -> None:
    with pytest.raises(Invalid) as found:
        examine(io.BytesIO(_change(1, schema="0007")(file)), "f", lambda: None)
    assert "import it with a syncd of schema 0007, then with this one: syncd db upgrade; syncd state export" in (
        found.value.hint
    )


def test_a_file_is_read_in_batches(new_database: NewDatabase, file: bytes) -> None:
    """Rows are sent in statements of many rows, and none holds a whole table."""
    url = new_database("sqlite")
    create(url)
    with closing(State(url)) as state, state.write() as conn:
        sizes: list[int] = []
        sa.event.listen(
            conn,
            "before_cursor_execute",
            lambda _c, _cursor, statement, parameters, _x, many: (
                sizes.append(len(parameters) if many else 1) if statement.startswith("INSERT") else None
            ),
        )
        import_record(conn, io.BytesIO(file), "record.jsonl", "the record", lambda: None)
    assert max(sizes) == 500
    assert len(sizes) < len(lines_of(file)) / 5
