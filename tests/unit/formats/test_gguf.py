"""Heads of GGUF files are read window by window, whatever they contain."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from syncd.errors import Corrupt
from syncd.formats.contents import Contents
from syncd.formats.parsers import gguf

HELD_BYTES_MAX = gguf.NAME_BYTES_MAX + 1
U8, TEXT, ARRAY = 0, 8, 9


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def head(pairs: int, *values: bytes, tensors: int = 0) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, pairs) + b"".join(values)


def vocabulary(words: int) -> bytes:
    listed = b"".join(text(b"word-%06d" % n) for n in range(words))
    scores = struct.pack("<IIQ", ARRAY, 6, words) + bytes(4 * words)
    names = struct.pack("<IIQ", ARRAY, TEXT, words) + listed
    tensor = text(b"output.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    return head(2, text(b"tokenizer.ggml.tokens"), names, text(b"tokenizer.ggml.scores"), scores, tensor, tensors=1)


def read(data: bytes, size_bytes: int = 0) -> tuple[Contents, list[int]]:
    """What the parser found, and how many bytes it held at each time."""
    steps, held = gguf.parse("m.gguf", size_bytes or len(data)), []
    try:
        span = next(steps)
        while True:
            held.append(span.size_bytes)
            span = steps.send(data[span.begin : span.end])
    except StopIteration as end:
        return end.value, held


def test_the_largest_vocabularies_are_passed_and_numbers_are_not_even_read() -> None:
    data = vocabulary(256_000)
    whole = data + bytes(-len(data) % 32) + bytes(32)
    found, held = read(whole)
    assert found == Contents("gguf", 1)
    assert max(held) <= HELD_BYTES_MAX
    assert sum(held) < len(data) - 4 * 256_000 + 3 * HELD_BYTES_MAX


@pytest.mark.parametrize("cut_bytes", [40, 2_000_000])
def test_a_vocabulary_that_is_cut_off_is_said_so(cut_bytes: int) -> None:
    data = vocabulary(256_000)
    with pytest.raises(Corrupt, match="its head alone ends at"):
        read(data[:-cut_bytes])


def pairs(*keys: bytes) -> bytes:
    return head(len(keys), *(text(key) + struct.pack("<IB", U8, 1) for key in keys))


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("more than 100000 keys", lambda: pairs(*(b"%d" % n for n in range(100_001)))),
        ("bytes of their names", lambda: pairs(*(b"%d" % n + b"a" * 60_000 for n in range(300)))),
        ("a key has a name of 70000 bytes", lambda: pairs(b"a" * 70_000)),
        ("has key 'a' twice", lambda: pairs(b"a", b"a")),
    ],
)
def test_names_are_counted_before_they_are_kept(said: str, made: Callable[[], bytes]) -> None:
    with pytest.raises(Corrupt, match=said):
        read(made())
