"""Proof in memory: a question that only a process with the model's bytes can answer.

syncd sends a nonce with a probe. The nonce chooses 64 ranges of 64 KiB of the weights; the answer is the SHA-256 over
the nonce and the bytes of these ranges, taken from the buffers as they were loaded. It cannot be computed from the
manifest. The grade `full` adds the SHA-256 of every file of weights, computed anew from the buffers.

The question is a JSON object with the key `syncd_proof`; the answer has `proofs`, by the digest of the version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .tensors import GGUF, SAFETENSORS

RANGES = 64
RANGE_BYTES = 64 << 10
NONCE_BYTES = 16
SAMPLE, FULL = "sample", "full"
_KEY = "syncd_proof"

ReadRange = Callable[[str, int, int], bytes | bytearray | memoryview]
"""The bytes of a file: path, offset, size."""


@dataclass(frozen=True)
class Challenge:
    """A question. `grade` is `sample` or `full`; `nonce` are hexadecimal digits."""

    grade: str
    nonce: str

    def body(self) -> bytes:
        """The request to the function."""
        return json.dumps({_KEY: {"grade": self.grade, "nonce": self.nonce}}, separators=(",", ":")).encode()


def parse_challenge(body: bytes) -> Challenge | None:
    """The question in a request; None where the request is another one."""
    try:
        asked = json.loads(body)[_KEY]
        grade, nonce = asked["grade"], asked["nonce"]
        is_long = len(bytes.fromhex(nonce)) >= NONCE_BYTES
    except (ValueError, KeyError, TypeError):
        return None
    return Challenge(grade, nonce) if is_long and grade in (SAMPLE, FULL) else None


def proven_files(files: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The files that a proof is about, with sizes: the files of tensors, or all where there are none. By path."""
    ordered = sorted(files)
    weights = [file for file in ordered if file[0].endswith((SAFETENSORS, GGUF))]
    return weights or ordered


def ranges(nonce: str, files: Sequence[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """The ranges that a nonce chooses, as path, offset and size; one that crosses the end of a file is several.

    The files count as one run of bytes. Where they are smaller than all ranges together, every byte is asked for.
    """
    total = sum(size for _path, size in files)
    if total <= RANGES * RANGE_BYTES:
        return [(path, 0, size) for path, size in files]
    found: list[tuple[str, int, int]] = []
    for number in range(RANGES):
        chosen = hashlib.sha256(f"{nonce}:{number}".encode()).digest()
        begin = int.from_bytes(chosen[:8], "big") % (total - RANGE_BYTES + 1)
        found += _pieces(files, begin, begin + RANGE_BYTES)
    return found


def sample_answer(nonce: str, files: Sequence[tuple[str, int]], read: ReadRange) -> str:
    """The answer of the grade `sample`, as 64 hexadecimal digits."""
    sha = hashlib.sha256(bytes.fromhex(nonce))
    for path, offset, size in ranges(nonce, files):
        sha.update(f"{path}:{offset}:{size}\n".encode())
        sha.update(read(path, offset, size))
    return sha.hexdigest()


def full_answer(nonce: str, sample: str, digests: Sequence[tuple[str, str]]) -> str:
    """The answer of the grade `full`: from that of `sample`, and the SHA-256 of each proven file, by path."""
    sha = hashlib.sha256(bytes.fromhex(nonce) + bytes.fromhex(sample))
    for path, digest in digests:
        sha.update(f"{path}:{digest}\n".encode())
    return sha.hexdigest()


def _pieces(files: Sequence[tuple[str, int]], begin: int, end: int) -> list[tuple[str, int, int]]:
    found, start = [], 0
    for path, size in files:
        low, high = max(begin, start), min(end, start + size)
        if low < high:
            found.append((path, low - start, high - low))
        start += size
    return found
