"""Tensors inside a file's bytes: names, types, shapes and places, from the headers of safetensors and GGUF."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import WrongBytes

Buffer = memoryview

SAFETENSORS = ".safetensors"
GGUF = ".gguf"
_GGUF_ALIGNMENT = 32
_GGUF_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type -> bytes
_GGUF_STRING, _GGUF_ARRAY, _GGUF_UINT32 = 8, 9, 4
# Type number -> name, elements of a block, bytes of a block: ggml/include/ggml.h and ggml-common.h of ggml-org/ggml.
_GGML_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}  # fmt: skip


@dataclass(frozen=True)
class TensorSpan:
    """A tensor: its type and shape as the file names them, and its bytes as offset and size in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int
    size_bytes: int

    @property
    def parameters(self) -> int:
        """The number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count


def spans(path: str, data: Buffer) -> tuple[TensorSpan, ...]:
    """The tensors of a file, in the order of their bytes. None for a file of another format.

    Raises:
        WrongBytes: The header cannot be understood, or a tensor ends after the file.
    """
    parsers = {SAFETENSORS: _safetensors, GGUF: _gguf}
    parse = next((parser for suffix, parser in parsers.items() if path.endswith(suffix)), None)
    if parse is None:
        return ()
    try:
        found = sorted(parse(data), key=lambda span: span.offset_bytes)
    except (ValueError, KeyError, TypeError, struct.error, IndexError) as error:
        raise WrongBytes(f"{path}: its header cannot be read: {str(error)[:200]}") from error
    for span in found:
        if span.offset_bytes + span.size_bytes > len(data):
            raise WrongBytes(f"{path}: the tensor {span.name} ends after the file's {len(data)} bytes")
    return tuple(found)


def _safetensors(data: Buffer) -> Iterator[TensorSpan]:
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(bytes(data[8 : 8 + length]))
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        yield TensorSpan(name, tensor["dtype"], tuple(tensor["shape"]), 8 + length + begin, end - begin)


class _GgufReader:
    """A position in a GGUF file. The format: the page gguf.md of ggml-org/ggml."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self.at = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        length = self.number("<Q")
        self.at += length
        return bytes(self._data[self.at - length : self.at]).decode()

    def skip(self, kind: int) -> None:
        if kind == _GGUF_STRING:
            length = self.number("<Q")
            self.at += length
        elif kind == _GGUF_ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _GGUF_SCALARS:
                self.at += _GGUF_SCALARS[inner] * count
            else:
                for _ in range(count):
                    self.skip(inner)
        else:
            self.at += _GGUF_SCALARS[kind]


def _gguf(data: Buffer) -> Iterator[TensorSpan]:
    reader = _GgufReader(data)
    if bytes(data[:4]) != b"GGUF":
        raise ValueError("expected the magic GGUF")
    reader.at = 4
    reader.number("<I")
    tensors, pairs = reader.number("<Q"), reader.number("<Q")
    alignment = _GGUF_ALIGNMENT
    for _ in range(pairs):
        key, kind = reader.text(), reader.number("<I")
        if key == "general.alignment" and kind == _GGUF_UINT32:
            alignment = reader.number("<I")
        else:
            reader.skip(kind)
    infos = [_gguf_info(reader) for _ in range(tensors)]
    start = -(-reader.at // alignment) * alignment
    for name, shape, kind, offset in infos:
        dtype, block, block_bytes = _GGML_TYPES[kind]
        span = TensorSpan(name, dtype, shape, start + offset, 0)
        yield TensorSpan(name, dtype, shape, span.offset_bytes, -(-span.parameters // block) * block_bytes)


def _gguf_info(reader: _GgufReader) -> tuple[str, tuple[int, ...], int, int]:
    name = reader.text()
    lengths = [reader.number("<Q") for _ in range(reader.number("<I"))]
    return name, tuple(reversed(lengths)), reader.number("<I"), reader.number("<Q")
