"""What PyTorch and others save as `.pt`, `.pth`, `.ckpt`: zip archives, pickles, and older things.

Pickles are read opcode by opcode and nothing in them is called. A file of the format before PyTorch 1.6 is five
pickles and then the storages, whose sizes the fourth pickle has.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from syncd.formats.contents import Contents, cut_off, damaged, shown
from syncd.formats.parsers import hdf5, tensorflow, zips
from syncd.formats.spans import Span, Steps

HEAD_BYTES_MAX: Final = 32 << 20
OPCODES_MAX: Final = 1_000_000  # some seconds
_FIRST_BYTES: Final = 64 << 10
_MAGIC: Final = 0x1950A86A20F9469CFC6C  # of torch.save before 1.6
_PICKLES: Final = 5  # the magic number, a version, the machine's sizes, the object, the keys of its storages
_LENGTH_BYTES: Final = 8  # before each storage
_ELEMENT_BYTES: Final = {
    "FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "UntypedStorage": 1,
}  # fmt: skip
_TAR: Final = (257, b"ustar")


class _ShortError(Exception):
    """The pickle goes on behind the bytes that are there, or is none."""


class _LongError(Exception):
    """It has more than `OPCODES_MAX` opcodes."""


def parse_torch(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a file that PyTorch or Lightning saved, as far as its format can be told.

    Raises:
        Corrupt: It is of no format that is saved under such a name, or was cut off.
    """
    head = yield Span(0, min(_FIRST_BYTES, size_bytes))
    if head.startswith(zips.LOCAL[:2]):
        return (yield from zips.parse(path, size_bytes, "torch"))
    if head.startswith(hdf5.MAGIC):
        return (yield from hdf5.parse(path, size_bytes))
    if head.startswith(_TAR[1], _TAR[0]) or _is_mindspore(head):
        return Contents("tar" if head.startswith(_TAR[1], _TAR[0]) else "mindspore", is_whole=False)
    if head[:1] == b"\x80" or _may_be_text(head):
        return (yield from _pickled(path, size_bytes, head))
    if (yield from tensorflow.is_table(size_bytes)):
        return Contents("tensorflow", is_whole=False)
    raise damaged(path, f"is neither a zip archive nor a pickle: it begins with {shown(head)}",
                  "something else was saved there")  # fmt: skip


def _pickled(path: str, size_bytes: int, head: bytes) -> Steps[Contents]:
    while True:
        try:
            found = _first(head)
            if found.long != _MAGIC:
                return Contents("pickle")
            return _legacy(path, size_bytes, head)
        except _LongError:
            return Contents("pickle", is_whole=False)
        except _ShortError as error:
            if len(head) == size_bytes:
                what = f"is a pickle that does not end, or none: it begins with {shown(head)}"
                raise damaged(path, what, "it was cut off, or something else was saved there") from error
            if len(head) >= HEAD_BYTES_MAX:
                return (yield from _last_byte(path, size_bytes, head))
            head = yield Span(0, min(size_bytes, HEAD_BYTES_MAX, 4 * len(head)))


def _last_byte(path: str, size_bytes: int, head: bytes) -> Steps[Contents]:
    """A pickle that is too large to be read ends with STOP; one of `torch.save` goes on with its storages."""
    try:
        is_legacy = _first(head).long == _MAGIC
    except (_ShortError, _LongError):
        is_legacy = False
    if not is_legacy and (yield Span(size_bytes - 1, 1)) != b".":
        raise cut_off(path, size_bytes, "the last of which is not the end of a pickle")
    return Contents("pickle", is_whole=False)


@dataclass(slots=True)
class _Pickle:
    """What was seen in one pickle. `storages` are the bytes of each by its key; None where a size is not known."""

    end: int = 0
    long: int | None = None
    storages: dict[str, int | None] = field(default_factory=dict)


def _first(head: bytes) -> _Pickle:
    return _walk(head, 0)


def _legacy(path: str, size_bytes: int, head: bytes) -> Contents:
    at, storages = 0, dict[str, int | None]()
    for _ in range(_PICKLES):
        found = _walk(head, at)
        at, storages = found.end, storages | found.storages
    if None in storages.values():
        return Contents("torch", is_whole=False)
    end = at + sum(_LENGTH_BYTES + (each or 0) for each in storages.values())
    if end > size_bytes:
        raise cut_off(path, size_bytes, f"its tensors end at {end}")
    return Contents("torch")


def _walk(head: bytes, at: int) -> _Pickle:
    """Go over one pickle.

    Raises:
        _ShortError: It does not end within `head`, or is none.
        _LongError: It has too many opcodes.
    """
    machine, found = _Machine(), _Pickle()
    try:
        for count, (opcode, arg, place) in enumerate(_opcodes(head[at:])):
            if count == OPCODES_MAX:
                raise _LongError
            if opcode.name == "LONG1":
                found.long = arg
            if opcode.name == "BINPERSID":
                _note(machine.pop(), found.storages)
                machine.push(None)
            elif opcode.name == "STOP":
                found.end = at + (place or 0) + 1
            else:
                machine.step(opcode, arg)
    except (ValueError, IndexError, OverflowError) as error:
        raise _ShortError from error
    return found


def _opcodes(data: bytes) -> Iterator[tuple[Any, Any, int | None]]:
    return iter(pickletools.genops(data))


def _note(persistent: object, storages: dict[str, int | None]) -> None:
    """A storage, as `torch.save` names it: ("storage", type, key, location, numbers, view)."""
    if not isinstance(persistent, tuple) or len(persistent) < 5 or persistent[0] != "storage":
        return
    kind, key, numbers = str(persistent[1]).rpartition(" ")[2], str(persistent[2]), persistent[4]
    element_bytes = _ELEMENT_BYTES.get(kind)
    is_known = element_bytes is not None and isinstance(numbers, int) and numbers >= 0
    storages[key] = numbers * (element_bytes or 0) if is_known else None


class _Machine:
    """The stack of a pickle machine that keeps texts, numbers and tuples, and of all else only that it is there."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._mark = object()

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> object:
        return self._stack.pop() if self._stack else None

    def step(self, opcode: Any, arg: Any) -> None:
        """Carry out an opcode, as far as it moves the stack."""
        name = opcode.name
        if name == "MARK":
            self.push(self._mark)
        elif name in {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}:
            self.push(tuple(self._to_mark() if name == "TUPLE" else self._last(int(name[-1]))))
        elif name == "STACK_GLOBAL":
            self.push(" ".join(str(each) for each in self._last(2)))
        elif name.endswith("PUT") or name == "MEMOIZE":
            self._memo[len(self._memo) if arg is None else arg] = self._stack[-1] if self._stack else None
        elif name.endswith("GET"):
            self.push(self._memo.get(arg))
        else:
            self._generic(opcode, arg)

    def _generic(self, opcode: Any, arg: Any) -> None:
        before = opcode.stack_before
        if pickletools.markobject in before:
            self._to_mark()
            before = before[: before.index(pickletools.markobject)]
        self._last(len(before))
        is_value = not opcode.stack_before and isinstance(arg, str | int)
        for _ in opcode.stack_after:
            self.push(arg if is_value else None)

    def _last(self, count: int) -> list[object]:
        found = self._stack[len(self._stack) - count :] if count else []
        del self._stack[len(self._stack) - len(found) :]
        return found

    def _to_mark(self) -> list[object]:
        found: list[object] = []
        while self._stack and (value := self._stack.pop()) is not self._mark:
            found.append(value)
        return found[::-1]


def _may_be_text(head: bytes) -> bool:
    """A pickle of protocol 0 or 1 begins with a mark, a class, or an empty container."""
    return head[:1] in {b"(", b"c", b"]", b"}", b")"}


def _is_mindspore(head: bytes) -> bool:
    """MindSpore's checkpoints are messages, each of whose values begins with its name."""
    at = 0
    for _ in range(2):
        if head[at : at + 1] != b"\x0a":
            return False
        at += 1
        while at < len(head) and head[at] >= 0x80:
            at += 1
        at += 1
    name_bytes = head[at - 1 : at]
    name = head[at : at + name_bytes[0]] if name_bytes else b""
    return bool(name) and name.isascii() and name.decode().isprintable()
