"""Export of a record into a file, and import of such a file into an empty record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import sqlalchemy as sa

from syncd.errors import Conflict
from syncd.plan.phases import FLIP_ENDS
from syncd.state.db import schema
from syncd.state.db.tables import ORDERED
from syncd.state.export import rows
from syncd.state.export.file import ExportHeader, ExportReader, ExportWriter
from syncd.state.schema_version import NEWEST

_BY_NAME: Final = {table.name: table for table in ORDERED}
_OF_DB_CREATE: Final = "automatic_releases.stopped"  # the one event that a record has when it is created
_ENDED: Final = frozenset(phase.value for phase in FLIP_ENDS)

OnRow = Callable[[], object]


@dataclass(slots=True)
class ServedByFile:
    """What a file says about one binding: what is live, and what a release in flight is moving its alias to."""

    live: str | None = None
    is_recorded: bool = False  # whether it has a row in `live`
    moving_to: set[str] = field(default_factory=set)

    @property
    def may_be(self) -> set[str | None]:
        """Function versions that the alias may point at without a contradiction."""
        return {self.live, *self.moving_to}


def export_record(conn: sa.Connection, stream: BinaryIO, at: str, on_row: OnRow) -> tuple[ExportHeader, ExportWriter]:
    """Write every row of every table of the record, within the snapshot of `conn`. The engine's tables are left out."""
    header = ExportHeader(NEWEST, at, {table.name: rows.count(conn, table) for table in ORDERED}, rows.sequences(conn))
    writer = ExportWriter(stream)
    writer.header(header)
    for table in ORDERED:
        for row in rows.read(conn, table):
            writer.row(table.name, row)
            on_row()
    return header, writer


def examine(stream: BinaryIO, name: str, on_row: OnRow) -> tuple[ExportHeader, dict[str, ServedByFile]]:
    """Read a whole file: its checksum, and every value. The answer has what it says about each binding.

    Raises:
        Invalid: It is not an export of this schema, or it was cut or changed; the message has the line.
    """
    reader = ExportReader(stream, name, NEWEST)
    served: dict[str, ServedByFile] = {}
    for table, row in _rows(reader):
        _note(served, table, row[1])
        on_row()
    return reader.header, served


def check_empty(conn: sa.Connection, shown: str) -> None:
    """Check that a record is as `syncd db create` leaves it. Raises Conflict: it has rows, of these tables."""
    filled = [table.name for table in ORDERED if conn.execute(_of_work(table).limit(1)).first() is not None]
    if filled:
        hint = "give syncd an empty database: set state.url, then: syncd db create; syncd state import"
        raise Conflict(f"{shown} is not an empty record: it has rows in {', '.join(filled)}", hint=hint)


def import_record(conn: sa.Connection, stream: BinaryIO, name: str, shown: str, on_row: OnRow) -> ExportHeader:
    """Write every row of a file into an empty record, within the transaction of `conn`: roll it back after an error.

    Raises:
        Conflict: The record has rows.
        Invalid: The file was cut or changed, or the database refuses a row; the message has the line.
    """
    rows.lock(conn)
    check_empty(conn, shown)
    for table in (schema.events, schema.record_info):
        conn.execute(sa.delete(table))
    reader = ExportReader(stream, name, NEWEST)
    for table, batch in _batches(_rows(reader)):
        try:
            rows.write(conn, table, batch)
        except rows.UnfitRowError as error:
            raise reader.wrong(error.number, str(error), "nothing was written: export the record again") from error
        for _ in batch:
            on_row()
    rows.set_sequences(conn, reader.header.sequences)
    return reader.header


def _of_work(table: sa.Table) -> sa.Select[Any]:
    """The rows that `syncd db create` has not written."""
    query: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(table)
    if table is schema.record_info:
        return query.where(sa.false())
    return query.where(table.c.kind != _OF_DB_CREATE) if table is schema.events else query


def _rows(reader: ExportReader) -> Iterator[tuple[sa.Table, rows.Numbered]]:
    """Every row as the database takes it; tables in their order, and as many rows as the header says."""
    counts = dict.fromkeys(_BY_NAME, 0)
    order = iter(_BY_NAME)
    current, number = "", 1
    if reader.header.counts.keys() != counts.keys():
        odd = ", ".join(sorted(reader.header.counts.keys() ^ counts.keys()))
        raise reader.wrong(1, f"its tables are not those of schema {NEWEST}: {odd}")
    for number, name, row in reader.rows():
        if name != current:
            current = next((each for each in order if each == name), "")
        if not current:
            what = "is not a table of the record" if name not in _BY_NAME else "stands out of order"
            raise reader.wrong(number, f"{name} {what}")
        counts[name] += 1
        try:
            yield _BY_NAME[name], (number, rows.decoded(_BY_NAME[name], number, row))
        except rows.UnfitRowError as error:
            raise reader.wrong(number, str(error)) from error
    for name, found in counts.items():
        if found != reader.header.counts[name]:
            raise reader.wrong(number, f"{name} has {found} rows, the header says {reader.header.counts[name]}")


def _batches(
    found: Iterator[tuple[sa.Table, rows.Numbered]],
) -> Iterator[tuple[sa.Table, list[rows.Numbered]]]:
    batch: list[rows.Numbered] = []
    of: sa.Table | None = None
    for table, row in found:
        if of is not None and batch and (table is not of or len(batch) == rows.batch_of(of)):
            yield of, batch
            batch = []
        of = table
        batch.append(row)
    if of is not None and batch:
        yield of, batch


def _note(served: dict[str, ServedByFile], table: sa.Table, row: rows.Row) -> None:
    if table is schema.live:
        it = served.setdefault(row["binding"], ServedByFile())
        it.live, it.is_recorded = row["function_version"], True
    elif table is schema.flips and row["phase"] not in _ENDED and row["to_version"] is not None:
        served.setdefault(row["binding"], ServedByFile()).moving_to.add(row["to_version"])
