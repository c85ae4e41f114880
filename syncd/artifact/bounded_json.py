"""JSON from outside, built piece by piece: what it makes in memory is counted while it is made, not by its bytes.

A few bytes of JSON can make many times their size: `[[],[],…` takes 64 bytes of memory for each three. So a document is
refused in the middle, as soon as what was made of it exceeds a budget.

The streaming parser that others use, ijson 3.6 over yajl, reads a lone surrogate as `?`: a file's name would become
another one without an error. So tokens are made by the standard library here, and only the containers by us.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from syncd.errors import Invalid

MADE_BYTES_MAX: Final = 44 << 20  # 100 000 files of an index, with names, sizes and digests
DEPTH_MAX: Final = 100
TOKEN_LENGTH_MAX: Final = 1 << 20  # characters of one text or number
_ROW_LENGTH_MAX: Final = 1 << 14  # a longer object is built entry by entry, so that it is counted in between
_PIECE_BYTES: Final = 1 << 16
_KEYS_MAX: Final = 1000  # are kept once, however often they occur
_LIST_BYTES: Final = 88
_OBJECT_BYTES: Final = 184  # up to five entries
_ENTRY_BYTES: Final = 100  # with its share of a table that is being enlarged
_ITEM_BYTES: Final = 16
_NUMBER_BYTES: Final = 32

Row = list[tuple[str, Any]]

_TEXT: Final = r'"(?:[^"\\]|\\.)*+"'
_NUMBERS: Final = r'\[[^{}\[\]"]*+\]'
# An object of texts and numbers is one token, and made by the library's C code: most of a listing is such rows.
_TOKEN: Final = re.compile(
    rf"(?P<row>\{{[^{{}}\[\]\"]*+(?:(?:{_TEXT}|{_NUMBERS})[^{{}}\[\]\"]*+)*+\}})"
    rf"|(?P<value>{_TEXT}|[^\s\"{{}}\[\],:]++)|(?P<mark>[{{}}\[\],:])",
    re.DOTALL,
)
_SPACE: Final = re.compile(r"[ \t\n\r]*+")


def parse_bounded(
    pieces: Iterable[bytes],
    what: str,
    made_bytes_max: int = MADE_BYTES_MAX,
    *,
    row: Callable[[Row], Any] = dict,
    distinct: bool = False,
) -> Any:
    """Build a JSON text in UTF-8 from its pieces, as `json.loads` does.

    `row` makes something smaller of an object that has texts, numbers and lists of numbers only, if it is of use: it
    is given its entries, one by one. A tuple is counted with what is in it. With `distinct` no other object may have a
    name twice.

    Raises:
        Invalid: It would take more memory than `made_bytes_max`, is nested too deeply, or a text in it is too long.
        ValueError: It is not JSON.
    """
    builder = _Builder(what, made_bytes_max, row, distinct=distinct)
    for token, kind in _tokens(_decoded(pieces), what):
        builder.add(token, kind)
    return builder.end()


def parse_bounded_bytes(data: bytes, what: str, *, row: Callable[[Row], Any] = dict, distinct: bool = False) -> Any:
    """As `parse_bounded`, of a text that is in memory already."""
    view = memoryview(data)
    pieces = (bytes(view[at : at + _PIECE_BYTES]) for at in range(0, len(view), _PIECE_BYTES))
    return parse_bounded(pieces, what, row=row, distinct=distinct)


def _decoded(pieces: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    for large in pieces:
        for at in range(0, len(large), _PIECE_BYTES):
            yield decoder.decode(large[at : at + _PIECE_BYTES])
    yield decoder.decode(b"", final=True)


def _tokens(texts: Iterator[str], what: str) -> Iterator[tuple[str, str]]:
    """The tokens of a text. One that reaches the end of what was read may go on in the next piece."""
    held, at, is_last = "", 0, False
    while True:
        space = _SPACE.match(held, at)
        at = space.end() if space else at
        match = _TOKEN.match(held, at)
        if not is_last and (match is None or match.end() == len(held)):
            if len(held) - at > TOKEN_LENGTH_MAX:
                raise Invalid(f"{what}: a text of the JSON has more than {TOKEN_LENGTH_MAX} characters")
            following = next(texts, None)
            is_last = following is None
            held, at = held[at:] + (following or ""), 0
        elif match is not None and match.lastgroup == "row" and match.end() - at > _ROW_LENGTH_MAX:
            yield "{", "mark"
            at += 1
        elif match is not None:
            yield match[0], match.lastgroup or ""
            at = match.end()
        elif at == len(held):
            return
        else:
            raise ValueError(f"unexpected {held[at : at + 20]!r}, or a text without an end")


class _Builder:
    """Containers under construction. For one thread."""

    def __init__(self, what: str, made_bytes_max: int, row: Callable[[Row], Any], *, distinct: bool) -> None:
        self._what = what
        self._distinct = distinct
        self._make = row
        self._decode_row = json.JSONDecoder(object_pairs_hook=self._row).decode
        self._left_bytes = self._most_bytes = made_bytes_max
        self._keys: dict[str, str] = {}
        self._open: list[Any] = []
        self._key: str | None = None  # of the entry whose value comes next
        self._after = ""  # what was read last in the innermost container: "", "," or ":" want something, "v" is a value
        self._root: list[Any] = []

    def add(self, token: str, kind: str) -> None:
        if kind == "mark":
            self._mark(token)
        else:
            is_key = bool(self._open) and isinstance(self._open[-1], dict) and self._key is None
            if kind == "row":
                value: Any = self._decode_row(token)
                self._count(0)
            else:
                value = json.loads(token)
                self._count(sys.getsizeof(value))
            if is_key:
                self._set_key(value)
            else:
                self._put(value)

    def end(self) -> Any:
        if self._open or not self._root:
            raise ValueError("it ends too early")
        return self._root[0]

    def _mark(self, mark: str) -> None:
        if mark in "{[":
            self._count(_OBJECT_BYTES if mark == "{" else _LIST_BYTES)
            value: Any = {} if mark == "{" else []
            self._put(value)
            self._open.append(value)
            self._after, self._key = "", None
            if len(self._open) > DEPTH_MAX:
                raise Invalid(f"{self._what}: the JSON is nested too deeply: more than {DEPTH_MAX} levels")
        elif mark in "}]":
            kind = dict if mark == "}" else list
            if not self._open or not isinstance(self._open[-1], kind) or self._key is not None or self._after == ",":
                raise ValueError(f"unexpected {mark!r}")
            self._open.pop()
            self._after = "v"
        elif mark == ":":
            if self._key is None or self._after != "k":
                raise ValueError("unexpected ':'")
            self._after = ":"
        else:
            if not self._open or self._after != "v":
                raise ValueError("unexpected ','")
            self._after = ","

    def _set_key(self, key: object) -> None:
        if not isinstance(key, str) or self._after not in {"", ","}:
            raise ValueError(f"expected a name in an object, got {str(key)[:20]!r}")
        self._key, self._after = self._once(key), "k"

    def _put(self, value: Any) -> None:
        if not self._open:
            if self._root:
                raise ValueError("something follows its end")
            self._root.append(value)
            return
        inner = self._open[-1]
        if isinstance(inner, dict):
            if self._key is None or self._after != ":":
                raise ValueError("expected a name in an object")
            if self._distinct and self._key in inner:
                raise ValueError(f"an object has {self._key[:80]!r} twice")
            self._count(_ENTRY_BYTES if len(inner) >= 5 else 0)
            inner[self._key] = value
            self._key = None
        else:
            if self._after == "v":
                raise ValueError("expected ',' between the items of a list")
            self._count(_ITEM_BYTES)
            inner.append(value)
        self._after = "v"

    def _row(self, pairs: Row) -> Any:
        """A flat object, its keys shared with the others."""
        made = self._make([(self._once(key), value) for key, value in pairs])
        if isinstance(made, tuple):
            self._left_bytes -= _LIST_BYTES + sum(map(sys.getsizeof, made))
            return made
        if not isinstance(made, dict):
            self._left_bytes -= _OBJECT_BYTES
            return made
        self._left_bytes -= _OBJECT_BYTES + _ENTRY_BYTES * max(0, len(made) - 5)
        for value in made.values():
            self._left_bytes -= sys.getsizeof(value) + (_NUMBER_BYTES * len(value) if isinstance(value, list) else 0)
        return made

    def _once(self, key: str) -> str:
        known = self._keys.get(key)
        if known is not None:
            return known
        self._left_bytes -= sys.getsizeof(key)
        if len(self._keys) < _KEYS_MAX:
            self._keys[key] = key
        return key

    def _count(self, made_bytes: int) -> None:
        self._left_bytes -= made_bytes
        if self._left_bytes < 0:
            raise Invalid(
                f"{self._what}: the JSON would take more than {self._most_bytes >> 20} MiB of memory",
                hint="split the listing: fewer files, versions or models in one document",
            )
