"""What tells a whole model from a part of one, beside safetensors."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.weights import (
    GGUF_HEAD_BYTES,
    POINTER_BYTES_MAX,
    base_of,
    check_no_pointer,
    gguf_tensors,
    may_be_pointer,
)
from syncd.errors import Corrupt, Invalid

from tests.support.tensors import gguf
from tests.unit.artifact.test_tensors import WEIGHTS

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 5\n"


def test_a_pointer_of_git_lfs_is_not_the_file() -> None:
    with pytest.raises(Corrupt, match=r"m\.bin is a pointer"):
        check_no_pointer("m.bin", POINTER)
    check_no_pointer("m.bin", b"version 2")


@pytest.mark.parametrize(
    ("path", "size_bytes", "may_be"),
    [
        ("a/m.safetensors", len(POINTER), True),
        ("m.gguf", POINTER_BYTES_MAX, True),
        ("m.gguf", POINTER_BYTES_MAX + 1, False),
        ("m.gguf", 10, False),
        ("notes.md", len(POINTER), False),
    ],
)
def test_only_small_files_of_weights_are_looked_at_for_one(path: str, size_bytes: int, *, may_be: bool) -> None:
    assert may_be_pointer(path, size_bytes) is may_be


def test_a_gguf_file_tells_how_many_tensors_it_has() -> None:
    data = gguf(WEIGHTS)
    assert gguf_tensors("m.gguf", len(data), data[:GGUF_HEAD_BYTES]) == len(WEIGHTS)


@pytest.mark.parametrize("head", [b"", b"GGUF", b"GGUF" + bytes(19)])
def test_a_gguf_file_that_ends_within_its_beginning_is_corrupt(head: bytes) -> None:
    with pytest.raises(Corrupt, match=f"m has {len(head)} bytes"):
        gguf_tensors("m", len(head), head)


@given(st.binary(min_size=24, max_size=24).filter(lambda head: not head.startswith(b"GGUF")))
def test_what_does_not_begin_as_one_is_corrupt(head: bytes) -> None:
    with pytest.raises(Corrupt, match="begins with"):
        gguf_tensors("m", 24, head)


def test_the_number_of_tensors_is_read_as_it_stands() -> None:
    assert gguf_tensors("m", 24, struct.pack("<4sIQQ", b"GGUF", 3, 7, 0)) == 7


@pytest.mark.parametrize(
    ("document", "base"),
    [
        ({"base_model_name_or_path": "acme/chat", "revision": "v2"}, "acme/chat@v2"),
        ({"base_model_name_or_path": "acme/chat", "revision": None}, "acme/chat"),
        ({"base_model_name_or_path": None}, ""),
        ({"peft_type": "LORA"}, ""),
    ],
)
def test_an_adapter_names_its_base(document: object, base: str) -> None:
    assert base_of("a", json.dumps(document).encode()) == base


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 200_000])
def test_what_is_no_configuration_of_an_adapter_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="a is no configuration of an adapter"):
        base_of("a", data)
