"""Files with tensors, written by hand: safetensors and GGUF, of made-up weights."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any


def safetensors(tensors: Mapping[str, bytes], metadata: Mapping[str, str] | None = None) -> bytes:
    """The tensors one after another in the order given, after a header that says so."""
    described: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, data in tensors.items():
        described[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    return headed(described, b"".join(tensors.values()))


def headed(header: object, data: bytes) -> bytes:
    """What a writer makes of this header: JSON, filled up to eight bytes with spaces."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind: int, items: Iterable[bytes]) -> bytes:
    found = list(items)
    return struct.pack("<IQ", kind, len(found)) + b"".join(found)


def gguf(
    tensors: Mapping[str, bytes],
    pairs: Mapping[str, tuple[int, bytes]] | None = None,
    *,
    alignment: int = 32,
    version: int = 3,
) -> bytes:
    """`pairs` are keys with the number of a type and the value as its bytes."""
    pairs = dict(pairs or {})
    if alignment != 32:
        pairs["general.alignment"] = (4, struct.pack("<I", alignment))
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(pairs))
    head += b"".join(string(key) + struct.pack("<I", kind) + value for key, (kind, value) in pairs.items())
    data = b""
    for name, weights in tensors.items():
        data += b"\0" * (-len(data) % alignment)
        head += string(name) + struct.pack("<IQIQ", 1, len(weights), 24, len(data))
        data += weights
    return head + b"\0" * (-len(head) % alignment) + data


def sharded(shards: int, tensors: int, size_bytes: int) -> dict[str, bytes]:
    """A model in several safetensors files, with the index that says which tensor is in which."""
    names = [f"layers.{number}.weight" for number in range(shards * tensors)]
    files: dict[str, bytes] = {}
    places: dict[str, str] = {}
    for shard in range(shards):
        path = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        own = names[shard * tensors : (shard + 1) * tensors]
        files[path] = safetensors({name: name.encode().ljust(size_bytes, b"\0") for name in own})
        places |= dict.fromkeys(own, path)
    total = {"total_size": size_bytes * len(names)}
    files["model.safetensors.index.json"] = json.dumps({"metadata": total, "weight_map": places}).encode()
    return files | {"config.json": b'{"model_type": "made-up"}'}
