"""Zip archives by what is in them: PyTorch, TorchScript, Keras, NumPy; and NumPy's arrays, alone or in an archive.

Entries are read forward, by their own headers; then the directory, which loaders go by, has to name the same ones at
the same places: an archive that shows one content from the front and another from the end is no data.
"""

from __future__ import annotations

import ast
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.errors import Invalid
from syncd.formats.parsers import zips
from syncd.formats.spans import Span, Steps

BEGINS: Final = (b"PK\x03\x04", b"PK\x05\x06")
NPY: Final = b"\x93NUMPY"
ENTRIES_MAX: Final = 4096
HEADER_BYTES_MAX: Final = 10_000  # NumPy refuses a longer one
CONFIGURATION_BYTES_MAX: Final = 32 << 20
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_ARRAY_BYTES: Final = 16 << 10  # of an entry: more than a header of an array has
_STREAMED: Final = 1 << 3  # the sizes come behind the data, so that the next entry cannot be found
_STORED, _DEFLATED = 0, 8
_MAX_32: Final = 0xFFFFFFFF
_PLAIN_TYPE: Final = re.compile(r"[|<>=]?[?biufcSUVmM]\d*(\[[^\]]*\])?")
_KERAS_FILES: Final = frozenset({"config.json", "metadata.json"})
_KERAS_CODE: Final = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper"})

Class = tuple[str, str]
"""A format, and why it is not data."""


@dataclass(frozen=True, slots=True)
class _LocalEntry:
    name: str
    begin: int
    data: int
    packed: int
    method: int
    is_streamed: bool  # its size comes behind it


def classify(path: str, size_bytes: int) -> Steps[Class]:
    """Classify an archive. Raises Corrupt: it was cut off."""
    first = yield from _local(0, size_bytes)
    if first is not None and not first.is_streamed:
        if first.name.endswith(".npy"):
            return (yield from _arrays(path, size_bytes, first))
        if first.name in _KERAS_FILES:
            return (yield from _keras(path, size_bytes, first))
    names = (yield from zips.names(path, size_bytes)) or ()
    if not any(name.endswith("data.pkl") for name in names):
        return "archive", "it is an archive in which nothing is checked"
    if any("/code/" in name for name in names):
        return "torchscript", "TorchScript is a program"
    return "torch", "torch.save writes pickles, which run code when they are loaded"


def classify_array(data: bytes) -> Class:
    """Classify a NumPy array by its first bytes."""
    length_bytes = 2 if data[6:7] == b"\x01" else 4
    begin = 8 + length_bytes
    length = int.from_bytes(data[8:begin], "little")
    wrong = "malformed", "its header is not one of a NumPy array"
    if length > HEADER_BYTES_MAX or begin + length > len(data):
        return wrong
    try:
        header = ast.literal_eval(data[begin : begin + length].decode("latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return wrong
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        return wrong
    return ("numpy-objects", "an array of objects is a pickle") if _has_objects(header["descr"]) else ("numpy", "")


def _has_objects(description: object) -> bool:
    """Whether a type is one of objects, or has a field of them. What is not understood counts as such."""
    if isinstance(description, str):
        return not _PLAIN_TYPE.fullmatch(description)
    if isinstance(description, list):
        return any(not isinstance(each, tuple) or len(each) < 2 or _has_objects(each[1]) for each in description)
    return not (isinstance(description, tuple) and len(description) == 2) or _has_objects(description[0])


def _arrays(path: str, size_bytes: int, entry: _LocalEntry | None) -> Steps[Class]:
    seen: dict[str, int] = {}
    while entry is not None and not entry.is_streamed and len(seen) < ENTRIES_MAX:
        if not entry.name.endswith(".npy"):
            return "archive", f"it has {entry.name[:100]!r} among its arrays"
        data = _unpacked(entry, (yield Span(entry.data, min(entry.packed, _ARRAY_BYTES))), _ARRAY_BYTES)
        if not data.startswith(NPY):
            return "archive", f"{entry.name[:100]!r} in it is not an array"
        found = classify_array(data)
        if found[0] != "numpy":
            return found[0], f"{entry.name[:100]!r} in it: {found[1]}"
        seen[entry.name] = entry.begin
        entry = yield from _local(entry.data + entry.packed, size_bytes)
    return (yield from _agreed(path, size_bytes, seen, "numpy"))


def _keras(path: str, size_bytes: int, entry: _LocalEntry | None) -> Steps[Class]:
    """The configuration comes before the weights, as Keras writes it."""
    seen: dict[str, int] = {}
    reason = "its configuration does not come first"
    while entry is not None and not entry.is_streamed and entry.name in _KERAS_FILES and entry.name not in seen:
        seen[entry.name] = entry.begin
        if entry.name == "config.json":
            packed = yield Span(entry.data, min(entry.packed, CONFIGURATION_BYTES_MAX))
            reason = _keras_code(_unpacked(entry, packed, CONFIGURATION_BYTES_MAX))
        entry = yield from _local(entry.data + entry.packed, size_bytes)
    if reason:
        yield from zips.names(path, size_bytes)
        return "keras-code", reason
    found = yield from zips.entries(path, size_bytes)
    places = [each for each in found or () if each[0] == "config.json"]
    if places != [("config.json", seen["config.json"])]:
        return "malformed", "its directory names another configuration than the one at its beginning"
    others = [name for name, _ in found or () if name.endswith((".pkl", ".pickle", ".zip", ".py", ".tar", ".gz"))]
    if others:
        return "keras-code", f"it has {others[0][:100]!r} inside"
    return "keras", ""


def _keras_code(text: bytes) -> str:
    """Why a configuration runs code; "" if it does not."""
    try:
        document = parse_bounded_bytes(text, "the configuration")
    except (ValueError, Invalid):
        return "its configuration is not readable JSON"
    for each in _objects(document):
        kind, module = each.get("class_name"), each.get("module")
        if kind in _KERAS_CODE:
            return f"its configuration has a {kind} layer, which is Python code"
        if isinstance(module, str) and module.partition(".")[0] != "keras":
            return f"its configuration loads {kind!r} from the module {module[:100]!r}"
        if kind == "function" and module is None:
            return "its configuration calls a function that it names"
    return ""


def _objects(document: object) -> Iterator[dict[str, object]]:
    waiting = [document]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def _agreed(path: str, size_bytes: int, seen: dict[str, int], form: str) -> Steps[Class]:
    listed = yield from zips.entries(path, size_bytes)
    if listed is None or len(seen) >= ENTRIES_MAX:
        return "archive", "its directory is larger than is read"
    if sorted(listed) != sorted(seen.items()):
        return "malformed", "its directory names other entries than those that are in it"
    return form, ""


def _local(begin: int, size_bytes: int) -> Steps[_LocalEntry | None]:
    """The entry whose header begins there; None where there is none."""
    if begin + _LOCAL.size > size_bytes:
        return None
    head = yield Span(begin, _LOCAL.size)
    magic, _, flags, method, _, _, _, packed, unpacked, name_bytes, extra_bytes = _LOCAL.unpack(head)
    at = begin + _LOCAL.size
    if magic != BEGINS[0] or at + name_bytes + extra_bytes > size_bytes:
        return None
    texts = yield Span(at, name_bytes + extra_bytes)
    if packed == _MAX_32:
        packed, _ = zips.long_sizes(texts[name_bytes:], unpacked, packed, 0)
    data = at + name_bytes + extra_bytes
    if data + packed > size_bytes:
        return None
    return _LocalEntry(
        texts[:name_bytes].decode(errors="replace"), begin, data, packed, method, bool(flags & _STREAMED)
    )


def _unpacked(entry: _LocalEntry, data: bytes, bytes_max: int) -> bytes:
    """The first bytes of an entry; none where it is packed in a way that is not known."""
    if entry.method == _STORED:
        return data
    if entry.method != _DEFLATED:
        return b""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, bytes_max)
    except zlib.error:
        return b""
