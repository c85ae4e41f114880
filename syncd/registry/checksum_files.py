"""Checksum lists beside a version's files: `MANIFEST.json` (syncd's format, or a plain one) and `SHA256SUMS`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.artifact.names import FilePath, ModelName, VersionName
from syncd.errors import Invalid, Unavailable
from syncd.registry.listing_cache import name_shown

LISTED_MAX: Final = 150_000  # × 290 bytes = 42 MiB
_SUM: Final = re.compile(r"(\\?)([0-9A-Fa-f]{64}) [ *](.+)")
_ESCAPED: Final = re.compile(r"\\(.)")
_LIST_HINT: Final = "write it with sha256sum on Linux, or convert it: dos2unix SHA256SUMS"
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_ESCAPES: Final = {"\\": "\\", "n": "\n", "r": "\r"}


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A listed file. `size_bytes` and `sha256` where the list has them."""

    path: FilePath
    size_bytes: int | None
    sha256: Digest | None


def parse_sums(data: bytes) -> tuple[ListedFile, ...]:
    """Parse the output of `sha256sum`: text and binary mode, `./` in front, names with escapes.

    A list from Windows is read too: CRLF line ends (a checkout with autocrlf), UTF-16 or UTF-8 with a byte order mark
    (PowerShell). No name can end with a carriage return: control characters are refused in names.

    Raises:
        Unavailable: It ends in the middle of a line; it is being written.
        Invalid: A line is something else, its line ends are mixed, or a name is there twice.
    """
    utf8 = _utf8(data, "SHA256SUMS")
    if utf8 and not utf8.endswith(b"\n"):
        raise Unavailable("SHA256SUMS ends in the middle of a line", hint="it is being written, or was cut off")
    ending = b"\r" if b"\r" in utf8 else b""
    return _distinct(_sum(line, number) for number, line in _lines(utf8, ending) if line)


def _lines(data: bytes, ending: bytes) -> Iterator[tuple[int, str]]:
    """Each line with its number, one at a time: there may be millions of empty ones."""
    at = 0
    for number in count(1):
        end = data.find(b"\n", at)
        if end < 0:
            return
        line = data[at:end]
        if ending and line and not line.endswith(ending):
            raise Invalid("SHA256SUMS has both CRLF and LF line ends", hint=_LIST_HINT)
        if not line.isascii():
            _decoded(line, "SHA256SUMS", at)
        yield number, line.decode().removesuffix(ending.decode())
        at = end + 1


def _sum(line: str, number: int) -> ListedFile:
    match = _SUM.fullmatch(line)
    if not match:
        raise Invalid(
            f"SHA256SUMS line {number}: expected '<sha256>  <file>', got {line[:120]!r}",
            hint="write it with sha256sum",
        )
    name = match[3]
    if match[1]:
        name = _ESCAPED.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), name)
    return ListedFile(FilePath(name.removeprefix("./")), None, Digest.parse(match[2]))


def parse_manifest(data: bytes, model: ModelName, version: VersionName) -> tuple[ListedFile, ...]:
    """Parse a `MANIFEST.json`: syncd's own format, or `{"files": [{"path", "size", "sha256"}]}`; sha256 may be missing.

    Raises:
        Unavailable: It is not JSON: it is being written.
        Invalid: It has another structure, another model or version, would take too much memory, or has a name twice.
    """
    try:
        document = parse_bounded_bytes(_utf8(data, "MANIFEST.json"), "MANIFEST.json", row=_compact)
        return _listed(document, data, model, version)
    except UnicodeDecodeError as error:
        _decoded(data, "MANIFEST.json")  # raises, and says where
        raise Invalid("MANIFEST.json is not UTF-8") from error
    except ValueError as error:
        raise Unavailable(f"MANIFEST.json is not JSON: {error}", hint="it is being written, or was cut off") from error


def _compact(pairs: list[tuple[str, Any]]) -> Any:
    """A file's entry in a third of the memory, where it has the expected shape."""
    row = dict(pairs)
    if row.keys() <= {"path", "size", "sha256"} and _is_entry(row):
        return row["path"], row["size"], row.get("sha256")
    return row


def _is_entry(row: Any) -> bool:
    shape = isinstance(row, dict) and isinstance(row.get("path"), str) and type(row.get("size")) is int
    return shape and row["size"] >= 0 and isinstance(row.get("sha256"), str | None)


def _listed(document: object, data: bytes, model: ModelName, version: VersionName) -> tuple[ListedFile, ...]:
    if isinstance(document, dict) and "format" in document:
        manifest = Manifest.parse(data)
        if (manifest.model, manifest.version) != (model, version):
            raise Invalid(f"MANIFEST.json: expected {model}@{version}, got {manifest}", hint="copy the right one")
        return tuple(ListedFile(entry.path, entry.size_bytes, entry.sha256) for entry in manifest.entries)
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list):
        raise Invalid("MANIFEST.json has no list 'files'", hint='write {"files": [{"path", "size", "sha256"}]}')
    return _distinct(_files(files))


def _files(rows: list[Any]) -> Iterator[ListedFile]:
    """The files in their order. A row is freed as soon as it is converted."""
    rows.reverse()
    for index in count():
        if not rows:
            return
        yield _file(rows.pop(), index)


def _file(file: Any, index: int) -> ListedFile:
    if isinstance(file, tuple):
        path, size_bytes, sha256 = file
    elif _is_entry(file):
        path, size_bytes, sha256 = file["path"], file["size"], file.get("sha256")
    else:
        raise Invalid(
            f'MANIFEST.json files[{index}]: expected {{"path": text, "size": bytes, "sha256": text}}, got '
            f"{json.dumps(file, ensure_ascii=False)[:120]}"
        )
    digest = None if sha256 is None else Digest.parse(sha256)
    return ListedFile(FilePath(path.removeprefix("./")), size_bytes, digest)


def _decoded(data: bytes, name: str, at: int = 0) -> str:
    """The text of a list, or of a part of it at a byte: UTF-8, or what its byte order mark says."""
    encoding = next((each for mark, each in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise Unavailable(f"{name} is cut off in {encoding}", hint=_LIST_HINT) from error
        hint = "rename the files in it to UTF-8" if b"\x00" not in data[:64] else _LIST_HINT
        raise Invalid(f"{name} is not UTF-8 at byte {at + error.start}", hint=hint) from error


def _utf8(data: bytes, name: str) -> bytes:
    if data.startswith(_UTF_16):
        return _decoded(data, name).encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def _distinct(listed: Iterable[ListedFile]) -> tuple[ListedFile, ...]:
    found = tuple(islice(listed, LISTED_MAX + 1))
    if len(found) > LISTED_MAX:
        raise Invalid(f"the list has more than {LISTED_MAX} files", hint="pack them into fewer files")
    seen: set[str] = set()
    for item in found:
        if item.path in seen:
            raise Invalid(f"{name_shown(item.path)} is listed twice", hint="list it once")
        seen.add(item.path)
    return found
