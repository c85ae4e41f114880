"""ONNX: one message, whose tensors are in it or in files beside it, each at an offset and with a length."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Final

from syncd.formats.contents import Contents, Need, cut_off, damaged
from syncd.formats.parsers.protobuf import LENGTH, VARINT, Cursor, EndlessError, Field, ProtobufError, fields
from syncd.formats.spans import Steps

FORMAT: Final = "onnx"
# The messages in a message that lead to a tensor, by the number of the field.
_INSIDE: Final = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_IR_VERSION, _GRAPH, _OPSET = 1, 7, 8
_INITIALIZER: Final = 5
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_EXTERNAL: Final = 1
_ENTRY_BYTES_MAX: Final = 16 << 10
_DEPTH_MAX: Final = 100
_FILES_MAX: Final = 10_000
_PLACE: Final = re.compile(r"[0-9]{1,19}")  # in a file: 64 bits with a sign


@dataclass(slots=True)
class _Message:
    kind: str
    end: int
    external: dict[str, str] = field(default_factory=dict)  # of a tensor
    is_external: bool = False


class _OnnxWalk:
    """Over one file. `needs` has the files beside it, and where the last tensor in each ends; `begins`, the first."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._cursor = Cursor(size_bytes)
        self._open = [_Message("model", size_bytes)]
        self._ir_version = 0
        self._seen: set[int] = set()
        self.tensors = 0
        self.needs: dict[str, int] = {}
        self.begins: dict[str, int] = {}

    def run(self) -> Steps[None]:
        while self._open:
            message = self._open[-1]
            if self._cursor.at == message.end:
                self._leave(self._open.pop())
                continue
            each = yield from self._cursor.field(message.end)
            if each.wire == LENGTH:
                if each.end > message.end:
                    raise cut_off(self._path, self._size_bytes, f"its field {each.number} ends at {each.end}")
                yield from self._enter(message, each)
            self._note(message, each)
        self._check_parts()

    def _enter(self, message: _Message, each: Field) -> Steps[None]:
        inside = _INSIDE[message.kind].get(each.number)
        if inside is not None:
            if len(self._open) == _DEPTH_MAX:
                raise EndlessError
            self._open.append(_Message(inside, each.end))
            self.tensors += message.kind == "graph" and each.number == _INITIALIZER and len(self._open) == 3
        elif message.kind == "tensor" and each.number == _EXTERNAL_DATA and each.end - each.begin <= _ENTRY_BYTES_MAX:
            pair = fields((yield from self._cursor.take(each.end - each.begin)))
            key, value = pair.get(1, b""), pair.get(2, b"")
            if isinstance(key, bytes) and isinstance(value, bytes):
                message.external[key.decode(errors="replace")] = value.decode(errors="replace")
        else:
            self._cursor.at = each.end

    def _note(self, message: _Message, each: Field) -> None:
        if message.kind == "model":
            self._seen.add(each.number)
            if each.number == _IR_VERSION:
                self._ir_version = each.value
        elif message.kind == "tensor" and each.number == _DATA_LOCATION and each.wire == VARINT:
            message.is_external = each.value == _EXTERNAL

    def _leave(self, message: _Message) -> None:
        if not message.is_external:
            return
        location = message.external.get("location", "")
        path = beside(self._path, location)
        if path is None:
            shown = repr(location)[:200]
            raise damaged(self._path, f"has a tensor in {shown}, which is not a file in its own folder")
        places = [message.external.get(key) or "0" for key in ("offset", "length")]
        if not all(map(_PLACE.fullmatch, places)):
            raise damaged(self._path, f"has a tensor in {location[:200]} at an offset that is not a number")
        begin, length = map(int, places)
        self.needs[path] = max(begin + length, self.needs.get(path, 0))
        if length:
            self.begins[path] = min(begin, self.begins.get(path, begin))
        if len(self.needs) > _FILES_MAX:
            raise EndlessError

    def _check_parts(self) -> None:
        wanted = {_IR_VERSION: "a version", _GRAPH: "a graph"}
        if self._ir_version >= 3:
            wanted[_OPSET] = "a set of operators"
        for number, what in wanted.items():
            if number not in self._seen:
                raise damaged(self._path, f"is not an ONNX model, or was cut off: it has not {what}")


def parse(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a file, without its tensors' data; its needs are the files that hold tensors.

    Raises:
        Corrupt: It is not an ONNX model, was cut off, or names a file outside of its folder.
    """
    walk = _OnnxWalk(path, size_bytes)
    try:
        yield from walk.run()
    except ProtobufError as error:
        raise damaged(path, f"is not an ONNX model, or was cut off: {error}") from error
    except EndlessError:
        return Contents(FORMAT, is_whole=False)
    needs = tuple(Need(each, end, walk.begins.get(each)) for each, end in walk.needs.items())
    return Contents(FORMAT, walk.tensors, needs=needs)


def beside(path: str, name: str) -> str | None:
    """The path in the version of what a file calls `name`; None if that is not in the file's folder or below it."""
    plain = posixpath.normpath(name)
    if not name or "\\" in name or "\0" in name or plain.startswith(("/", "..")) or plain == ".":
        return None
    return posixpath.join(posixpath.dirname(path), plain)
