"""Where tensors begin is read from the head of a file; whatever is not understood to the letter is an ordinary file."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.formats.tensors import HEAD_BYTES_MAX, starts

from tests.support.tensors import array, gguf, headed, safetensors, string

WEIGHTS = {"a": b"1" * 100, "b": b"", "c": b"2" * 7, "d": b"3" * 1000}
U8, U32, STRING, ARRAY, U64 = 0, 4, 8, 9, 10


def found(path: str, data: bytes, size_bytes: int | None = None) -> tuple[int, ...]:
    """What a reader finds that hands over exactly what is wanted."""
    size_bytes = len(data) if size_bytes is None else size_bytes
    head = b""
    for _ in range(40):
        seen = starts(path, size_bytes, head)
        if isinstance(seen, tuple):
            return seen
        assert len(head) < seen <= min(size_bytes, HEAD_BYTES_MAX)
        head = data[:seen]
    pytest.fail("it wants more and more")


def starts_of(data: bytes, tensors: dict[str, bytes]) -> tuple[int, ...]:
    return tuple(data.index(weights) for weights in tensors.values() if weights)


@given(st.binary(max_size=300), st.sampled_from(["m.safetensors", "m.gguf", "m.bin", ""]))
def test_no_bytes_are_too_strange(data: bytes, path: str) -> None:
    assert found(path, data) == ()


@given(st.data())
def test_a_head_with_any_byte_changed_is_still_only_looked_at(data: st.DataObject) -> None:
    for path, whole in (("m.safetensors", safetensors(WEIGHTS)), ("m.gguf", gguf(WEIGHTS, PAIRS))):
        changed = bytearray(whole)
        changed[data.draw(st.integers(0, 300))] = data.draw(st.integers(0, 255))
        begins = found(path, bytes(changed))
        assert list(begins) == sorted(set(begins))
        assert all(0 < begin < len(whole) for begin in begins)


def test_tensors_of_safetensors_begin_where_the_header_says() -> None:
    data = safetensors(WEIGHTS, {"format": "pt"})
    assert found("unet/m.safetensors", data) == starts_of(data, WEIGHTS)
    assert data[found("m.safetensors", data)[1] :].startswith(b"2" * 7)


def test_only_the_head_is_wanted() -> None:
    data = safetensors(WEIGHTS)
    assert starts("m.safetensors", len(data), b"") == 8
    want = len(data) - sum(map(len, WEIGHTS.values()))
    assert starts("m.safetensors", len(data), data[:8]) == want
    assert starts("m.safetensors", len(data), data[:want]) == found("m.safetensors", data)


def test_the_order_of_names_is_not_the_order_of_bytes() -> None:
    header = {"z": tensor(0, 3), "a": tensor(5, 9), "m": tensor(3, 5)}
    data = headed(header, b"123456789")
    assert found("m.safetensors", data) == (len(data) - 9, len(data) - 6, len(data) - 4)


def tensor(begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": "F16", "shape": [1], "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[1, 2]",
        b"{}x",
        b"[" * 100_000,
        b'{"a": 1}',
        b'{"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 9]}, "a": 1}',
        {"a": {"dtype": "F16", "shape": [1]}},
        {"a": tensor(0, 9) | {"more": 1}},
        {"a": tensor(0, 8)},
        {"a": tensor(0, 10)},
        {"a": tensor(1, 9)},
        {"a": tensor(0, 4), "b": tensor(5, 9)},
        {"a": tensor(0, 5), "b": tensor(4, 9)},
        {"a": tensor(0, 9), "b": tensor(9, 8)},
        {"a": tensor(0, 9.0)},
        {"a": tensor(False, 9)},
        {"a": tensor(0, "9")},
        {"a": tensor(-1, 9)},
        {"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 9, 9]}},
        {"a": {"dtype": "F16", "shape": [1], "data_offsets": 9}},
    ],
)
def test_a_header_that_is_not_to_the_letter_is_none(header: object) -> None:
    assert found("m.safetensors", headed(header, b"123456789")) == ()


@pytest.mark.parametrize("size_bytes", [1 << 63, HEAD_BYTES_MAX, 1000])
def test_a_header_larger_than_the_file_or_than_is_borne_is_not_asked_for(size_bytes: int) -> None:
    assert starts("m.safetensors", 1000, struct.pack("<Q", size_bytes)) == ()
    assert starts("m.safetensors", 1 << 40, struct.pack("<Q", HEAD_BYTES_MAX)) == ()


def test_a_header_without_tensors_has_none() -> None:
    assert found("m.safetensors", headed({"__metadata__": {"a": "b"}}, b"")) == ()


PAIRS = {
    "general.name": (STRING, string("llama")),
    "a.number": (U64, struct.pack("<Q", 7)),
    "a.flag": (7, b"\1"),
    "tokens": (ARRAY, array(STRING, [string(f"token {n}") for n in range(3000)])),
    "scores": (ARRAY, array(6, [struct.pack("<f", n) for n in range(3000)])),
    "nested": (ARRAY, array(ARRAY, [array(U8, [b"1", b"2"]), array(STRING, [string("x")])])),
}


@pytest.mark.parametrize("alignment", [8, 32, 64, 4096])
@pytest.mark.parametrize("version", [2, 3])
def test_tensors_of_gguf_begin_where_its_infos_say(alignment: int, version: int) -> None:
    weights = {name: data for name, data in WEIGHTS.items() if data}
    data = gguf(weights, PAIRS, alignment=alignment, version=version)
    begins = found("m.gguf", data)
    assert begins == starts_of(data, weights)
    assert all(begin % alignment == 0 for begin in begins)


def test_a_long_vocabulary_is_read_in_few_looks() -> None:
    pairs = {"tokens": (ARRAY, array(STRING, [string(f"token {n}") for n in range(60_000)]))}
    data = gguf(WEIGHTS, pairs)
    wanted, head = [], b""
    while isinstance(seen := starts("m.gguf", len(data), head), int):
        wanted.append(seen)
        head = data[:seen]
    assert len(seen) == 3
    assert len(wanted) <= 8
    assert wanted[-1] <= 2 * 60_000 * 20


def test_tensors_of_no_bytes_share_their_place() -> None:
    data = gguf(WEIGHTS)
    assert len(found("m.gguf", data)) == 3


HEAD = struct.pack("<4sI", b"GGUF", 3)


@pytest.mark.parametrize(
    "data",
    [
        b"GGUE" + bytes(100),
        struct.pack("<4sIQQ", b"GGUF", 1, 0, 0) + bytes(100),
        struct.pack(">4sIQQ", b"GGUF", 3, 1, 0) + bytes(100),
        HEAD + struct.pack("<QQ", 1 << 60, 0) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1 << 60) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 0) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 1 << 63) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<I", 13) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IIQ", ARRAY, STRING, 1 << 60) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1 << 60) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 9,
        HEAD + struct.pack("<QQ", 0, 1) + string("general.alignment") + struct.pack("<II", U32, 0) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1) + string("general.alignment") + struct.pack("<II", U32, 12) + bytes(100),
        HEAD + struct.pack("<QQ", 0, 1) + string("general.alignment") + struct.pack("<IQ", U64, 32) + bytes(100),
        HEAD + struct.pack("<QQ", 1, 0) + string("t") + struct.pack("<I", 9) + bytes(200),
        HEAD + struct.pack("<QQ", 1, 0) + string("t") + struct.pack("<IQIQ", 1, 9, 0, 31) + bytes(200),
        HEAD + struct.pack("<QQ", 1, 0) + string("t") + struct.pack("<IQIQ", 1, 9, 0, 3200) + bytes(200),
    ],
)
def test_a_gguf_that_is_not_to_the_letter_has_no_tensors(data: bytes) -> None:
    assert found("m.gguf", data) == ()


def test_a_head_that_goes_on_for_too_long_is_given_up() -> None:
    pair = HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IIQ", ARRAY, U8, HEAD_BYTES_MAX)
    assert starts("m.gguf", 1 << 40, pair) == ()
    assert json.dumps(starts("m.gguf", 1 << 40, b"")) == "65536"
