"""File of an exported record: JSON lines. A header, a line for each row, and the SHA-256 of all bytes before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, TypeGuard

from syncd.errors import Invalid

FORMAT: Final = 1
LINE_BYTES_MAX: Final = 256 << 20  # the longest are of `contents`: 64 bytes a part, 10 000 parts a file
_FORMAT_KEY: Final = "syncd_export"
_DIGEST_KEY: Final = "sha256"
_COPY_HINT: Final = "nothing was written: copy the file again, or export the record again"
_NOT_AN_EXPORT: Final = "nothing was written: name a file that `syncd state export` wrote"


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """The first line. `sequences` has the highest number that was ever assigned, by table."""

    schema: str
    at: str
    counts: Mapping[str, int]
    sequences: Mapping[str, int]

    @property
    def rows(self) -> int:
        """The number of rows of all tables."""
        return sum(self.counts.values())


class ExportWriter:
    """Writes the lines of a file and its checksum. The file is ASCII, whatever text the record has."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def header(self, header: ExportHeader) -> None:
        """Write the first line."""
        self._line(
            {
                _FORMAT_KEY: FORMAT,
                "schema": header.schema,
                "at": header.at,
                "counts": dict(header.counts),
                "sequences": dict(header.sequences),
            }
        )

    def row(self, table: str, row: Mapping[str, object]) -> None:
        """Write one row."""
        self._line({"table": table, "row": row})

    def finish(self) -> str:
        """Write the checksum; the digest in hex."""
        digest = self._digest.hexdigest()
        self._line({_DIGEST_KEY: digest})
        return digest

    def _line(self, document: Mapping[str, object]) -> None:
        raw = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        self._stream.write(raw)
        self._digest.update(raw)
        self.size_bytes += len(raw)


class ExportReader:
    """Reads the lines of a file. What it yields is proven only when it has ended without an error."""

    def __init__(self, stream: BinaryIO, name: str, schema: str) -> None:
        """Read the header. `schema` is the one number that is accepted.

        Raises:
            Invalid: It is not an export, or one of another format or schema.
        """
        self._name = name
        self._documents = self._read(stream)
        number, first = next(self._documents)
        self.header: Final = self._header_of(number, first, schema)

    def rows(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Each row with its line's number and its table. Ends when the checksum is right.

        Raises:
            Invalid: The file was cut or changed; the message has the line.
        """
        for number, document in self._documents:
            table, row = document.get("table"), document.get("row")
            if set(document) != {"table", "row"} or not isinstance(table, str) or not isinstance(row, dict):
                raise self.wrong(number, "expected a row of a table, or the checksum")
            yield number, table, row

    def wrong(self, number: int, what: str, hint: str = _COPY_HINT) -> Invalid:
        """The error for a line."""
        return Invalid(f"{self._name}: line {number}: {what}", hint=hint)

    def _read(self, stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
        digest = hashlib.sha256()
        number, is_ended = 0, False
        while raw := stream.readline(LINE_BYTES_MAX):
            number += 1
            if is_ended:
                raise self.wrong(number, "stands after the checksum, so the file was changed")
            document = self._document(number, raw)
            if set(document) != {_DIGEST_KEY}:
                digest.update(raw)
                yield number, document
                continue
            if document[_DIGEST_KEY] != digest.hexdigest():
                got = f"sha256 of the lines before it is {digest.hexdigest()}, it says {document[_DIGEST_KEY]}"
                raise self.wrong(number, f"{got}: the file was changed")
            is_ended = True
        if not is_ended:
            raise self.wrong(number + 1, "the file ends without its checksum, so it was cut")

    def _document(self, number: int, raw: bytes) -> dict[str, Any]:
        if not raw.endswith(b"\n"):
            is_long = len(raw) == LINE_BYTES_MAX
            what = f"is longer than {LINE_BYTES_MAX} bytes" if is_long else "the file ends within it, so it was cut"
            raise self.wrong(number, what)
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self.wrong(number, "is not JSON", _NOT_AN_EXPORT if number == 1 else _COPY_HINT) from error
        if not isinstance(document, dict):
            raise self.wrong(number, "is not a JSON object", _NOT_AN_EXPORT if number == 1 else _COPY_HINT)
        return document

    def _header_of(self, number: int, found: Mapping[str, Any], schema: str) -> ExportHeader:
        if type(found.get(_FORMAT_KEY)) is not int:
            raise self.wrong(number, "is not the header of an exported record", _NOT_AN_EXPORT)
        if found[_FORMAT_KEY] != FORMAT:
            hint = "nothing was written: import it with the syncd that exported it, or a newer one"
            raise self.wrong(number, f"has format {found[_FORMAT_KEY]}, this syncd reads format {FORMAT}", hint)
        its = found.get("schema")
        if its != schema:
            raise self.wrong(number, f"has schema {its}, this syncd needs {schema}", _schema_hint(its, schema))
        at, counts, sequences = found.get("at"), found.get("counts"), found.get("sequences")
        if not isinstance(at, str) or not _are_counts(counts) or not _are_counts(sequences):
            raise self.wrong(number, "has no time, counts or sequences")
        return ExportHeader(str(its), at, dict(counts), dict(sequences))


def _are_counts(found: Any) -> TypeGuard[dict[str, int]]:
    return isinstance(found, dict) and all(type(each) is int and each >= 0 for each in found.values())


def _schema_hint(its: object, schema: str) -> str:
    if isinstance(its, str) and its.isdecimal() and its < schema:
        return (
            f"nothing was written: import it with a syncd of schema {its}, then with this one: "
            "syncd db upgrade; syncd state export"
        )
    return "nothing was written: import it with the syncd that exported it"
