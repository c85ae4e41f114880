"""What a safetensors file says of itself, when it is whole, cut off, or something else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.names import parse_path
from syncd.artifact.safetensors import HEADER_BYTES_MAX, INDEX, Header, head_bytes, header, missing, shards
from syncd.errors import Corrupt, Invalid

TENSORS: dict[str, Any] = {
    "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
    "c": {"dtype": "BF16", "shape": [1], "data_offsets": [16, 18]},
}


def head_of(document: object) -> bytes:
    text = json.dumps(document).encode()
    return len(text).to_bytes(8, "little") + text


def file_of(tensors: dict[str, Any]) -> bytes:
    end = max((each["data_offsets"][1] for each in tensors.values()), default=0)
    return head_of({"__metadata__": {"format": "pt"}, **tensors}) + bytes(end)


def test_a_whole_file_tells_what_is_in_it() -> None:
    data = file_of(TENSORS)
    wanted = head_bytes(data[:8])
    assert header("m.safetensors", len(data), data[:wanted]) == Header(3, {"BF16": 7, "F32": 1})
    assert wanted == len(data) - 18


def test_a_file_without_tensors_is_whole() -> None:
    data = file_of({})
    assert header("m", len(data), data) == Header(0, {})


@given(st.integers(min_value=9, max_value=len(file_of(TENSORS)) - 1))
def test_a_file_that_was_cut_off_anywhere_is_corrupt(size_bytes: int) -> None:
    data = file_of(TENSORS)[:size_bytes]
    with pytest.raises(Corrupt, match=f"m has {size_bytes} bytes"):
        header("m", size_bytes, data)


def test_a_file_that_goes_on_is_corrupt() -> None:
    data = file_of(TENSORS) + b"x"
    with pytest.raises(Corrupt, match=f"its tensors end at {len(data) - 1}"):
        header("m", len(data), data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        bytes(range(256)),
        bytes(100),
        head_of([]),
        (5).to_bytes(8, "little") + b"{nope",
        (200_000).to_bytes(8, "little") + b'{"a":' * 40_000,
        (HEADER_BYTES_MAX + 1).to_bytes(8, "little") + b"{}",
        *(head_of({"a": {**TENSORS["a"], **bad}}) for bad in (
            {"dtype": 5}, {"shape": 5}, {"shape": [-1]}, {"shape": [1.5]}, {"shape": [1] * 65}, {"shape": [True]},
            {"data_offsets": [0]}, {"data_offsets": None}, {"data_offsets": ["0", "12"]},
        )),
        head_of({"a": 5}),
    ],
)  # fmt: skip
def test_what_is_not_of_the_format_is_an_ordinary_file(data: bytes) -> None:
    assert header("m", len(data), data) is None


def test_an_index_names_the_files_beside_it() -> None:
    data = json.dumps({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}).encode()
    assert shards(parse_path("i.json"), data) == {"m-1.safetensors", "m-2.safetensors"}
    assert shards(parse_path("unet/i.json"), data) == {"unet/m-1.safetensors", "unet/m-2.safetensors"}


@pytest.mark.parametrize("name", ["../m", "/etc/m", "sub/m", "", ".", "..", "a\\m", "a\x00m", 5, None, {"x": 1}])
def test_an_index_that_points_outside_is_refused_by_name(name: object) -> None:
    with pytest.raises(Invalid):
        shards(parse_path("i.json"), json.dumps({"weight_map": {"a": name}}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"weight_map": []}', b"\xff", b"[" * 200_000])
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match=r"i\.json is no index"):
        shards(parse_path("i.json"), data)


@pytest.mark.parametrize(
    ("paths", "lost"),
    [
        ([], None),
        (["a", "m-1-of-2.safetensors"], None),
        (["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"], None),
        (["m-00002-of-00002.safetensors"], "m-00001-of-00002.safetensors"),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.safetensors"], "m-00002-of-00002.gguf"),
        (["a/m-00001-of-00003.bin", "a/m-00003-of-00003.bin"], "a/m-00002-of-00003.bin"),
    ],
)
def test_a_shard_that_is_missing_by_its_name_is_found(paths: list[str], lost: str | None) -> None:
    assert missing(map(parse_path, paths)) == lost


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "a/x.safetensors.index.fp16.json"])
def test_an_index_is_known_by_its_name(name: str) -> None:
    assert INDEX.fullmatch(name)
    assert not INDEX.fullmatch(f"{name}.bak")
