"""safetensors: eight bytes for the length of a header, JSON of each tensor's type, shape and place, then the data.

The tensors have to cover the data without a gap or an overlap, and the file ends with the last of them.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from syncd.artifact.bounded_json import parse_bounded_bytes
from syncd.errors import Invalid
from syncd.formats.contents import Contents, cut_off, damaged, shown
from syncd.formats.spans import Span, Steps

FORMAT: Final = "safetensors"
HEADER_BYTES_MAX: Final = 16 << 20  # 100 000 tensors
FORMAT_HEADER_BYTES_MAX: Final = 100_000_000  # the format's own limit
LENGTH_BYTES: Final = 8
_KEYS: Final = {"dtype", "shape", "data_offsets"}
_DIMENSIONS_MAX: Final = 64
_NUMBERS: Final = range(1 << 64)
_BITS: Final = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
# Names that only packed weights have: GPTQ and AWQ, compressed-tensors, MXFP4, bitsandbytes.
_PACKED_ENDINGS: Final = (".qweight", ".qzeros", ".weight_packed", "_blocks", ".quant_state.bitsandbytes__nf4",
                          ".quant_state.bitsandbytes__fp4")  # fmt: skip
# Several weights in one number if there are scales beside it: MLX has `.scales`, NVFP4 `.weight_scale`.
_PACKING_TYPES: Final = frozenset({"U8", "U32", "I32"})
_SCALES: Final = (".scales", ".weight_scale", ".weight_scale_2")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor of a header: its type, how many numbers it has, and its bytes behind the header.

    `is_exact` is False where the header has more about it than the format says.
    """

    dtype: str
    numbers: int
    begin: int
    end: int
    is_exact: bool = True


def parse(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a file, from its header alone.

    Raises:
        Corrupt: It is not a safetensors file, or its tensors do not cover it exactly.
    """
    head = yield Span(0, min(LENGTH_BYTES + 1, size_bytes))
    if len(head) < LENGTH_BYTES:
        raise cut_off(path, size_bytes, f"a safetensors file begins with the {LENGTH_BYTES} of its header's length")
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    begins_well = head[LENGTH_BYTES:] in {b"{", b""}
    if not 1 < length <= FORMAT_HEADER_BYTES_MAX or not begins_well:
        fault = f"is not a safetensors file: it begins with {shown(head)}"
        raise damaged(path, fault, "something else was saved there")
    end = LENGTH_BYTES + length
    if end > size_bytes:
        raise cut_off(path, size_bytes, f"its header alone ends at {end}")
    if length > HEADER_BYTES_MAX:
        return Contents(FORMAT, is_whole=False, data_begins=end)
    found = read_header((yield Span(LENGTH_BYTES, length)))
    if found is None:
        raise damaged(path, "is not a safetensors file: its header is not the JSON of tensors with names of their own")
    _check_cover(path, size_bytes, end, found)
    numbers = {} if _is_packed(found) else _parameters(found.values())
    return Contents(FORMAT, len(found), numbers, data_begins=end)


def tensors(text: bytes) -> Sequence[TensorEntry] | None:
    """The tensors of a header without its length; None where it is not the format to the letter."""
    found = read_header(text)
    return list(found.values()) if found is not None and all(each.is_exact for each in found.values()) else None


def read_header(text: bytes) -> Mapping[str, TensorEntry] | None:
    """The tensors of a header without its length, by name; None where it is none."""
    try:
        # Each tensor is made small as soon as it is read: there may be a hundred thousand.
        document = parse_bounded_bytes(text, "the header", row=_compact, distinct=True)
    except (ValueError, Invalid):
        return None
    if not isinstance(document, dict):
        return None
    document.pop("__metadata__", None)
    return document if all(isinstance(each, TensorEntry) for each in document.values()) else None


def _compact(pairs: list[tuple[str, Any]]) -> object:
    """A tensor as one; the whole as a dictionary; two tensors of one name as nothing that is known."""
    found = dict(pairs)
    if not found.keys() >= _KEYS:
        return found if len(found) == len(pairs) else None
    dtype, shape, span = found["dtype"], found["shape"], found["data_offsets"]
    if (
        not isinstance(dtype, str)
        or not _are_numbers(shape, range(_DIMENSIONS_MAX + 1))
        or not _are_numbers(span, (2,))
    ):
        return None
    return TensorEntry(sys.intern(dtype), math.prod(shape), span[0], span[1], found.keys() == _KEYS)


def _are_numbers(value: object, lengths: Sequence[int]) -> bool:
    """Whether these are numbers as the format has them, of 64 bits: a longer one could not even be shown."""
    return isinstance(value, list) and len(value) in lengths and all(type(n) is int and n in _NUMBERS for n in value)


def _check_cover(path: str, size_bytes: int, data: int, found: Mapping[str, TensorEntry]) -> None:
    last = data + max((each.end for each in found.values()), default=0)
    if last != size_bytes:
        raise cut_off(path, size_bytes, f"its tensors end at {last}")
    end = 0
    for name, each in sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)):
        if each.begin != end or each.end < each.begin:
            raise damaged(
                path, f"has tensor {name[:200]!r} at {each.begin} to {each.end} of its data, expected at {end}"
            )
        if each.dtype in _BITS and _BITS[each.dtype] * each.numbers != 8 * (each.end - each.begin):
            shape = f"{each.numbers} numbers of {each.dtype}"
            raise damaged(path, f"has tensor {name[:200]!r} of {shape} in {each.end - each.begin} bytes")
        end = each.end


def _is_packed(found: Mapping[str, TensorEntry]) -> bool:
    for name, each in found.items():
        if each.dtype in _PACKING_TYPES:
            if name.endswith(_PACKED_ENDINGS):
                return True
            stem = name.removesuffix(".weight")
            if stem != name and any(f"{stem}{ending}" in found for ending in _SCALES):
                return True
    return False


def _parameters(found: Iterable[TensorEntry]) -> Mapping[str, int]:
    parameters: defaultdict[str, int] = defaultdict(int)
    for each in found:
        parameters[each.dtype] += each.numbers
    return dict(parameters)
