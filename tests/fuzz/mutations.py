"""What becomes of a seed: a few changes, drawn by Hypothesis so that it can make a failure small."""

from __future__ import annotations

import re
from typing import Final

from hypothesis import strategies as st

from tests.fuzz.seeds import seeds

_CHANGES_MAX: Final = 6
_NUMBERS: Final = re.compile(rb"\d+")
_BYTES: Final = st.sampled_from([b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b'"', b"\\", b"{", b"[", b"]", b"}", b",",
                                 b"\n", b"/", b"..", b"\xed\xa0\x80", b"\xff" * 8, b"\\ud800", b"1e999"])  # fmt: skip
_LARGE: Final = st.sampled_from([0, 1, 127, 255, 1 << 16, (1 << 31) - 1, (1 << 63) - 1, 1 << 64, 10**400, -1])


@st.composite
def changed(draw: st.DrawFn, target: str) -> bytes:
    """A seed of a target, changed in a few places; or any bytes."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=600))
    data = bytearray(draw(st.sampled_from(seeds(target))))
    for _ in range(draw(st.integers(0, _CHANGES_MAX))):
        _change(draw, data)
    return bytes(data)


def _change(draw: st.DrawFn, data: bytearray) -> None:
    at = draw(st.integers(0, len(data)))
    length = draw(st.sampled_from([0, 1, 2, 4, 8, 64, 512]))
    kind = draw(st.sampled_from(["set", "insert", "drop", "repeat", "number", "move", "cut"]))
    if kind == "number":
        found = list(_NUMBERS.finditer(bytes(data[at : at + 4096])))
        if found:
            match = draw(st.sampled_from(found))
            data[at + match.start() : at + match.end()] = str(draw(_LARGE)).encode()
    elif kind == "set":
        value = draw(_BYTES | st.binary(min_size=1, max_size=8))
        data[at : at + len(value)] = value
    elif kind == "insert":
        data[at:at] = draw(_BYTES | st.binary(max_size=8))
    elif kind == "drop":
        del data[at : at + length]
    elif kind == "repeat":
        data[at:at] = data[at : at + length] * draw(st.sampled_from([1, 2, 100]))
    elif kind == "move":
        taken = bytes(data[at : at + length])
        to = draw(st.integers(0, len(data)))
        data[to:to] = taken
    else:
        del data[at:]
