"""A safetensors file is whole if its tensors cover it exactly; packed weights are not counted as parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load
from syncd.errors import Corrupt
from syncd.formats.contents import Contents
from syncd.formats.parsers.safetensors import FORMAT_HEADER_BYTES_MAX, HEADER_BYTES_MAX

from tests.unit.formats.reading import both, ranged

TENSORS: dict[str, Any] = {
    "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
    "c": {"dtype": "BF16", "shape": [1], "data_offsets": [16, 18]},
}
NAME = "m.safetensors"


def head_of(document: object) -> bytes:
    text = json.dumps(document).encode()
    return len(text).to_bytes(8, "little") + text


def file_of(tensors: dict[str, Any]) -> bytes:
    end = max((each["data_offsets"][1] for each in tensors.values()), default=0)
    return head_of({"__metadata__": {"format": "pt"}, **tensors}) + bytes(end)


def test_a_whole_file_tells_what_is_in_it() -> None:
    data = file_of(TENSORS)
    assert both(NAME, data) == Contents("safetensors", 3, {"BF16": 7, "F32": 1}, data_begins=len(data) - 18)


@pytest.mark.parametrize("metadata", [{"__metadata__": None}, {}, {"__metadata__": {"a": "b"}}])
def test_a_file_without_tensors_is_whole(metadata: dict[str, Any]) -> None:
    assert both(NAME, head_of(metadata)) == Contents("safetensors", 0, data_begins=len(head_of(metadata)))


@given(st.integers(min_value=9, max_value=len(file_of(TENSORS)) - 1))
def test_a_file_that_was_cut_off_anywhere_is_corrupt(size_bytes: int) -> None:
    with pytest.raises(Corrupt, match=f"{NAME} has {size_bytes} bytes"):
        ranged(NAME, file_of(TENSORS)[:size_bytes])


def test_a_file_that_goes_on_is_corrupt() -> None:
    data = file_of(TENSORS) + b"x"
    with pytest.raises(Corrupt, match=f"its tensors end at {len(data) - 1}") as caught:
        ranged(NAME, data)
    assert 'leave = ["m.safetensors"]' in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"1234567",
        bytes(range(256)),
        bytes(100),
        b"<!doctype html><html>" + b" " * 500,
        (500).to_bytes(8, "little") + b"[" + b" " * 600,
        head_of([]),
        (5).to_bytes(8, "little") + b"{nope",
        (200_000).to_bytes(8, "little") + b'{"a":' * 40_000,
        (FORMAT_HEADER_BYTES_MAX + 1).to_bytes(8, "little") + b"{}",
        *(head_of({"a": {**TENSORS["a"], **bad}}) + bytes(12) for bad in (
            {"dtype": 5}, {"shape": 5}, {"shape": [-1]}, {"shape": [1.5]}, {"shape": [1] * 65}, {"shape": [True]},
            {"data_offsets": [0]}, {"data_offsets": None}, {"data_offsets": ["0", "12"]}, {"shape": [2, 4]},
            {"data_offsets": [0, 11]}, {"data_offsets": [1, 12]}, {"data_offsets": [12, 0]},
        )),
        head_of({"a": 5}),
        head_of({"a": {"dtype": "F32", "shape": [1]}}),
        len(b'{"a":{},"a":{}}').to_bytes(8, "little") + b'{"a":{},"a":{}}',
    ],
)  # fmt: skip
def test_what_is_not_of_the_format_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        ranged(NAME, data)
    assert caught.value.message.startswith(NAME)
    with pytest.raises(SafetensorError):
        load(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"b": {"dtype": "F32", "shape": [1], "data_offsets": [13, 17]}},
        {"b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}},
        {"b": {"dtype": "F32", "shape": [2], "data_offsets": [12, 16]}},
    ],
    ids=["gap", "overlap", "shape"],
)
def test_tensors_that_do_not_cover_the_data_are_refused_as_the_loader_does(changes: dict[str, Any]) -> None:
    data = head_of({**TENSORS, **changes}) + bytes(18)
    with pytest.raises(Corrupt, match="has tensor"):
        ranged(NAME, data)
    with pytest.raises(SafetensorError):
        load(data)


def test_what_the_format_does_not_forbid_is_whole() -> None:
    """More about a tensor than is needed, types that come later, and tensors of nothing."""
    later = {"a": {"dtype": "F3_X", "shape": [9], "data_offsets": [0, 5]}}
    assert ranged(NAME, head_of(later) + bytes(5)).parameters == {"F3_X": 9}
    more = {"a": {**TENSORS["a"], "strides": [3, 1]}, "z": {"dtype": "F4", "shape": [0], "data_offsets": [12, 12]}}
    assert ranged(NAME, head_of(more) + bytes(12)).tensors == 2


def test_a_header_too_large_to_be_read_is_not_judged() -> None:
    data = (HEADER_BYTES_MAX + 1).to_bytes(8, "little") + b"{" + b" " * (HEADER_BYTES_MAX + 1)
    assert ranged(NAME, data) == Contents("safetensors", is_whole=False, data_begins=8 + HEADER_BYTES_MAX + 1)


PACKED = {
    "gptq": {"l.qweight": "I32", "l.qzeros": "I32", "l.scales": "F16", "l.g_idx": "I32"},
    "awq": {"l.qweight": "I32", "l.qzeros": "I32", "l.scales": "F16"},
    "mlx": {"l.weight": "U32", "l.scales": "F16", "l.biases": "F16"},
    "nvfp4": {"l.weight": "U8", "l.weight_scale": "F8_E4M3", "l.weight_scale_2": "F32"},
    "compressed-tensors": {"l.weight_packed": "I32", "l.weight_scale": "F16", "l.weight_shape": "I64"},
    "mxfp4": {"l.gate_up_proj_blocks": "U8", "l.gate_up_proj_scales": "U8"},
    "bitsandbytes": {"l.weight": "U8", "l.weight.quant_state.bitsandbytes__nf4": "U8", "l.weight.absmax": "F32"},
}
BYTES = {"I32": 4, "U32": 4, "U8": 1, "F16": 2, "F8_E4M3": 1, "F32": 4, "I64": 8}


@pytest.mark.parametrize("form", PACKED)
def test_packed_weights_are_not_counted(form: str) -> None:
    document, at = {}, 0
    for name, dtype in PACKED[form].items():
        document[name] = {"dtype": dtype, "shape": [8], "data_offsets": [at, at + 8 * BYTES[dtype]]}
        at += 8 * BYTES[dtype]
    found = ranged(NAME, head_of(document) + bytes(at))
    assert (found.tensors, found.parameters) == (len(document), {})


def test_eight_bits_a_weight_are_not_packed() -> None:
    document = {
        "l.weight": {"dtype": "I8", "shape": [8], "data_offsets": [0, 8]},
        "l.weight_scale": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
    }
    assert ranged(NAME, head_of(document) + bytes(12)).parameters == {"I8": 8, "F32": 1}
