"""What else tells a whole model from a part of one: the first bytes of a GGUF file, pointers, an adapter's base."""

from __future__ import annotations

import json
import struct
from typing import Final

from syncd.errors import Corrupt, Invalid

GGUF_ENDING: Final = ".gguf"
GGUF_HEAD_BYTES: Final = 24
ADAPTER: Final = "adapter_config.json"
ADAPTER_BYTES_MAX: Final = 1 << 20
POINTER_BYTES_MAX: Final = 1024
_WEIGHTS: Final = (".safetensors", GGUF_ENDING, ".bin", ".pt", ".pth", ".onnx")
_POINTER: Final = b"version https://git-lfs.github.com/spec/"


def may_be_pointer(path: str, size_bytes: int) -> bool:
    """Whether weights are so small that they may be what git keeps in their place."""
    return path.endswith(_WEIGHTS) and len(_POINTER) <= size_bytes <= POINTER_BYTES_MAX


def check_no_pointer(path: str, head: bytes) -> None:
    """Raises Corrupt: `head`, the first bytes of weights, is a pointer of git LFS."""
    if head.startswith(_POINTER):
        raise Corrupt(f"{path} is a pointer of git LFS, not the file", hint="bring what `git lfs pull` brings")


def gguf_tensors(path: str, size_bytes: int, head: bytes) -> int:
    """How many tensors a GGUF file has. `head` is its first `GGUF_HEAD_BYTES`, or all that there are.

    Raises:
        Corrupt: It does not begin as one, or ends within its beginning.
    """
    if len(head) < GGUF_HEAD_BYTES:
        raise Corrupt(f"{path} has {size_bytes} bytes, a GGUF file begins with {GGUF_HEAD_BYTES}")
    magic, _, tensors = struct.unpack_from("<4sIQ", head)
    if magic != b"GGUF":
        raise Corrupt(f"{path} begins with {magic!r}, a GGUF file with b'GGUF'", hint="something else was saved there")
    return int(tensors)


def base_of(path: str, data: bytes) -> str:
    """The model that an adapter is for, as its configuration names it; "" where it names none.

    Raises:
        Invalid: It is no configuration of an adapter.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path} is no configuration of an adapter: {error}") from error
    if not isinstance(document, dict):
        raise Invalid(f"{path} is no configuration of an adapter: it is no JSON object")
    named = [document.get(key) for key in ("base_model_name_or_path", "revision")]
    return "@".join(part for part in named if isinstance(part, str) and part)
