"""What packing the weights of a model would save of a layer, and cost: `python -m bench.packing FILE.safetensors`.

FILE is of 32-bit floats. BF16 is made of it by leaving out the lower half of each, as who publishes a model does.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WAYS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "zstd 1": (lambda data: zstd.compress(data, 1), zstd.decompress),
    "zstd 3": (lambda data: zstd.compress(data, 3), zstd.decompress),
    "gzip 6": (lambda data: zlib.compress(data, 6), zlib.decompress),
}


def _weights(file: Path) -> dict[str, bytes]:
    whole = file.read_bytes()
    weights = whole[8 + int.from_bytes(whole[:8], "little") :]
    weights = weights[: len(weights) // 4 * 4]
    upper = bytearray(len(weights) // 2)
    upper[0::2], upper[1::2] = weights[2::4], weights[3::4]
    return {"F32": weights, "BF16": bytes(upper)}


def _line(name: str, data: bytes, way: str) -> str:
    pack, unpack = WAYS[way]
    began_s = time.thread_time()
    packed = pack(data)
    packed_s = time.thread_time()
    if unpack(packed) != data:
        raise SystemExit(f"{way} does not give back what it got")
    unpacked_s = time.thread_time()
    gb = len(data) / 1e9
    costs = f"{(packed_s - began_s) / gb:.1f} s of CPU a GB to pack, {(unpacked_s - packed_s) / gb:.1f} to unpack"
    return f"{name:5} {way}: {len(packed) / len(data):.0%} of it is left, {costs}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    for name, data in _weights(parser.parse_args().file).items():
        for way in WAYS:
            print(_line(name, data, way), flush=True)


if __name__ == "__main__":
    main()
