"""No bytes are too strange: each parser ends soon, in a result or a refusal, with bounded memory and reads."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.errors import SyncdError
from syncd.formats.check import check
from syncd.formats.contents import Contents, Need
from syncd.formats.parsers import pickles, protobuf
from syncd.formats.spans import Ranges
from syncd.formats.version import check_together

from tests.support.tensors import string
from tests.unit.formats.reading import Reads, both, ranged
from tests.unit.formats.written import KNOWN, WRITTEN

DOCUMENTS = ("config.json", "model.safetensors.index.json", "adapter_config.json", "model_index.json", "modules.json",
             "openvino_model.xml", "manifests/host/name/tag", f"blobs/sha256-{0:064}", "tokenizer.model")  # fmt: skip
NAMES = sorted({*WRITTEN, *KNOWN, *DOCUMENTS})


@cache
def whole(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        return {**WRITTEN, **KNOWN}[name](Path(folder))


@given(st.binary(max_size=600), st.sampled_from(NAMES))
def test_any_bytes_end_in_a_result_or_a_refusal(data: bytes, name: str) -> None:
    both(name, data)


@given(st.data(), st.sampled_from([*WRITTEN, *KNOWN]))
def test_changed_bytes_end_in_a_result_or_a_refusal(data: st.DataObject, name: str) -> None:
    changed = bytearray(whole(name))
    near = st.integers(0, min(600, len(changed) - 1))
    far = st.integers(max(0, len(changed) - 600), len(changed) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(near | far)
        value = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
        changed[at] = value
    both(name, bytes(changed))


MANY = 1 << 60
LONG = "9" * 4300  # the longest number that Python reads, and one more cannot be shown


def header(shape: str, end: str) -> bytes:
    """A safetensors file of four bytes of data, whose tensor has this shape and ends there."""
    text = f'{{"w":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}}}'
    return struct.pack("<Q", len(text)) + text.encode() + bytes(4)


def onnx_part(number: int, data: bytes) -> bytes:
    """A field with bytes, of a message of protobuf."""
    return bytes([number << 3 | 2, len(data) & 127 | 128, len(data) >> 7]) + data


def onnx_beside(**place: str) -> bytes:
    """A model of one tensor, which is in a file beside it, at this place."""
    pairs = {"location": "data.bin", **place}
    entries = [onnx_part(13, onnx_part(1, key.encode()) + onnx_part(2, each.encode())) for key, each in pairs.items()]
    tensor = b"".join(entries) + b"\x70\x01"
    return b"\x08\x08" + onnx_part(7, onnx_part(5, tensor)) + onnx_part(8, b"\x10\x11")


BOMBS = {
    "length.safetensors": struct.pack("<Q", 99_000_000) + b"{" + b" " * 1000,
    "deep.safetensors": struct.pack("<Q", 200_000) + b'{"a":' * 40_000,
    "numbers.safetensors": struct.pack("<Q", 1 << 20) + b'{"a":' + b"9" * ((1 << 20) - 6) + b"}",
    "tensors.gguf": struct.pack("<4sIQQ", b"GGUF", 3, MANY, 0) + bytes(100),
    "pairs.gguf": struct.pack("<4sIQQ", b"GGUF", 3, 0, MANY) + bytes(100),
    "text.gguf": struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", MANY) + bytes(100),
    "array.gguf": struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 8, MANY) + bytes(100),
    "nested.gguf": struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
    + string("k")
    + struct.pack("<I", 9)
    + struct.pack("<IQ", 9, 1) * 9
    + bytes(100),
    "shape.gguf": struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
    + string("t")
    + struct.pack("<I4QIQ", 4, MANY, MANY, MANY, MANY, 0, 0)
    + bytes(100),
    "long.onnx": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100),
    "fields.onnx": b"\x08\x01" * 30_000,
    "deep.onnx": b"\x3a\x7f" + b"\x0a\x7d\x2a\x7b" * 30,
    "entries.npz": b"PK\x03\x04" + bytes(100) + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65535, 100, 4, 0),
    "ends.npz": b"PK\x03\x04" + b"PK\x05\x06" * 60_000,
    "opcodes.pt": b"\x80\x02" + b"N0" * 30_000,
    "memo.pt": b"\x80\x02" + b"(" * 8_000 + b"t" * 8_000 + b".",
    "text.pt": b"\x80\x02X" + struct.pack("<I", 1 << 31) + bytes(100),
    "number.pt": b"\x80\x02L" + b"9" * 1_000_000 + b"L\n.",
    "tables.tflite": struct.pack("<I4s", 8, b"TFL3")
    + struct.pack("<iHHHHHHH", -4, 14, 8, 0, 0, 0, 0, 4)
    + b"\xff" * 60,
    "negative.tflite": struct.pack("<I4s", 8, b"TFL3") + struct.pack("<i", 1 << 30) + bytes(100),
    "open.html.bin": b"<!--" * 100_000,
    "spaces.json": b" " * 60_000 + b"{",
    "comments.xml": b"<!---->" * 500 + b"x",
    "comments.onnx.xml": b"<?xml ?>" + b"<!-- -->" * 500 + b"<nets>",
    "constants.xml": b"<net>" + b"<data " * 200_000 + b"</net>",
    "places.xml": b"<net>" + b'<data offset="1" ' * 100_000 + b"</net>",
    "end.safetensors": header("1", LONG),
    "shape.safetensors": header(f"{LONG},{LONG}", "4"),
    "place.onnx": onnx_beside(offset=LONG, length=LONG),
    "before.onnx": onnx_beside(offset="-500", length="500"),
    "signs.onnx": onnx_beside(offset="1_0", length=" 5"),
}
PLAIN = {"open.html.bin", "spaces.json", "memo.pt", "comments.xml", "comments.onnx.xml", "constants.xml", "places.xml"}


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_promises_too_much_costs_little(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "FIELDS_MAX", 20_000)
    monkeypatch.setattr(pickles, "OPCODES_MAX", 20_000)
    data = BOMBS[name]
    tracemalloc.start()
    began_s = time.process_time()
    found = both(name, data)
    took_s = time.process_time() - began_s
    held_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took_s < 20  # twice, and traced
    assert held_bytes < 40 * len(data) + (64 << 20)
    assert isinstance(found, str) or not found.is_whole or name in PLAIN


class Listing(dict[str, int]):
    """Sizes by path, and how often they were gone through."""

    passes = 0

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        return super().__iter__()


MANY_FOLDERS = [f"d{number}" for number in range(300)]
OWN_SHARD = "model-00001-of-00001.safetensors"
NEEDING = {
    "adapters": {f"{each}/adapter_config.json": Contents("adapter") for each in MANY_FOLDERS},
    "modules": {"modules.json": Contents("modules", needs=tuple(Need(f"{each}/") for each in MANY_FOLDERS))},
    "components": {"model_index.json": Contents("pipeline", models=tuple(f"{each}/" for each in MANY_FOLDERS))},
    "indexes": {
        f"{each}/model.safetensors.index.json": Contents("index", needs=(Need(f"{each}/{OWN_SHARD}"),))
        for each in MANY_FOLDERS
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", NEEDING)
def test_a_version_is_gone_through_a_few_times_however_much_its_files_name(kind: str) -> None:
    """A version may have a million files, and name as many folders: their product is hours."""
    own = ("adapter_model.safetensors", "config.json", OWN_SHARD)
    paths = [f"{folder}/{name}" for folder in MANY_FOLDERS for name in own]
    sizes = Listing(dict.fromkeys([*paths, *NEEDING[kind]], 1))
    assert check_together(sizes, NEEDING[kind]) == ()
    assert 0 < sizes.passes < 10


def test_a_head_that_may_be_long_is_read_in_few_reads() -> None:
    pairs = b"".join(string(f"key {number}") + struct.pack("<IQ", 8, 40) + b"x" * 40 for number in range(60_000))
    data = struct.pack("<4sIQQ", b"GGUF", 3, 0, 60_000) + pairs
    reads = Reads(data)
    found = Ranges("m.gguf", reads.open_at).run(check("m.gguf", len(data)))
    assert found == Contents("gguf", 0)
    assert len(reads.opened) == 1
    assert reads.bytes_read <= len(data)


def test_large_data_is_not_read(tmp_path: Path) -> None:
    """Of 100 MiB of weights, head and tail alone."""
    size_bytes = 100 << 20
    header = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size_bytes, size_bytes)
    data = struct.pack("<Q", len(header)) + header + bytes(size_bytes)
    reads = Reads(data)
    assert Ranges("m.safetensors", reads.open_at).run(check("m.safetensors", len(data))).tensors == 1
    assert (reads.opened, reads.bytes_read) == ([0], 1024)
    for name in ("model.gguf", "model.onnx", "model.h5", "hand-made.pt"):
        with pytest.raises(SyncdError):
            ranged(name, WRITTEN[name](tmp_path)[:-40])
