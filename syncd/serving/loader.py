"""Loader: a sealed version in memory, every byte read once and checked, with its tensors as views."""

from __future__ import annotations

import hashlib
import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import challenge, tensors
from .arena import Arena
from .challenge import Challenge
from .errors import NoRoom, ServingError, WrongBytes
from .fetch import Fetch, FetchReport
from .seal import SealedVersion, read_seal
from .tensors import TensorSpan
from .work import LoadingFile

TensorBytes = Callable[[], bytes | bytearray | memoryview]
"""The bytes of a tensor as they were loaded, wherever they are now; a GPU buffer is copied back first."""

_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
          "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?", "BF16": "<u2"}  # fmt: skip
_TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
          "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn",
          "F8_E5M2": "float8_e5m2"}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor in memory. `data` are its bytes; it is not valid after the model was evicted."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def numpy(self) -> Any:
        """An array over the same bytes; BF16, which NumPy lacks, as unsigned 16-bit numbers. Needs `syncd[numpy]`.

        Raises:
            ServingError: NumPy has no type for it, as for the blocks of GGUF.
        """
        import numpy as np  # noqa: PLC0415 -- an extra

        return np.frombuffer(self.data, dtype=self._kind(_NUMPY, "NumPy")).reshape(self.shape)

    def torch(self) -> Any:
        """A tensor over the same bytes. Needs `syncd[torch]`.

        Raises:
            ServingError: torch has no type for it, as for the blocks of GGUF.
        """
        torch = importlib.import_module("torch")  # an extra, and not one of the tests'
        kind = getattr(torch, self._kind(_TORCH, "torch"))
        flat = torch.frombuffer(self.data, dtype=torch.uint8) if self.data.nbytes else torch.empty(0, dtype=torch.uint8)
        if flat.data_ptr() % max(1, kind.itemsize):
            flat = flat.clone()  # the header left it at an odd place
        return flat.view(kind).reshape(self.shape)

    def _kind(self, kinds: Mapping[str, str], library: str) -> str:
        if self.dtype not in kinds:
            raise ServingError(f"{self.name}: {library} has no type for {self.dtype}; use its `data`")
        return kinds[self.dtype]


@dataclass
class LoadedModel:
    """A version in memory. `stages` are the load's parts with seconds, in order."""

    version: SealedVersion
    files: Mapping[str, memoryview]
    spans: Mapping[str, tuple[TensorSpan, ...]]  # by path
    arena: Arena
    fetched: FetchReport
    stages: Mapping[str, float]
    _elsewhere: dict[tuple[str, str], TensorBytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.version.digest

    @property
    def parameters(self) -> int:
        """The number of parameters, counted from the headers of the loaded files."""
        return sum(span.parameters for found in self.spans.values() for span in found)

    @property
    def load_s(self) -> float:
        return sum(self.stages.values())

    def tensors(self, path: str = "") -> dict[str, Tensor]:
        """The tensors of one file, or of all files.

        Raises:
            ServingError: Two files have a tensor of the same name: give `path`.
        """
        found: dict[str, Tensor] = {}
        for where, spans in self.spans.items():
            for span in spans if path in ("", where) else ():
                if span.name in found:
                    raise ServingError(
                        f"{where}: the tensor {span.name} is in another file too; choose one by its path"
                    )
                data = self.files[where][span.offset_bytes : span.offset_bytes + span.size_bytes]
                found[span.name] = Tensor(span.name, span.dtype, span.shape, self.arena.lend(data))
        return found

    def keep_elsewhere(self, path: str, name: str, read: TensorBytes) -> None:
        """Let proofs of a tensor be made from `read` instead of the arena, as for one that was moved to a GPU.

        `read` gives the bytes as they were loaded: before casts, fusion or merging.
        """
        self._elsewhere[path, name] = read

    def read(self, path: str, offset: int, size_bytes: int) -> bytes:
        """Bytes of a file as this process has them now."""
        data = bytearray(self.files[path][offset : offset + size_bytes])
        for span in self.spans.get(path, ()):
            low, high = max(offset, span.offset_bytes), min(offset + size_bytes, span.offset_bytes + span.size_bytes)
            read = self._elsewhere.get((path, span.name)) if low < high else None
            if read is not None:
                held = memoryview(read()).cast("B")
                if held.nbytes != span.size_bytes:
                    raise ServingError(
                        f"{path}: {span.name} has {held.nbytes} bytes, it was loaded with {span.size_bytes}"
                    )
                data[low - offset : high - offset] = held[low - span.offset_bytes : high - span.offset_bytes]
        return bytes(data)

    def prove(self, asked: Challenge) -> str:
        """The answer to a challenge, from the bytes in memory. `full` hashes all weights: not in a request's path."""
        proven = challenge.proven_files((file.path, file.size_bytes) for file in self.version.files)
        sample = challenge.sample_answer(asked.nonce, proven, self.read)
        if asked.grade == challenge.SAMPLE:
            return sample
        return challenge.full_answer(asked.nonce, sample, [(path, self._sha256(path, size)) for path, size in proven])

    def describe(self) -> dict[str, object]:
        """What a probe is answered with: digest, parameters, and how long which part of the load took."""
        return {
            "version": self.version.version,
            "digest": self.digest,
            "files": len(self.version.files),
            "parameters": self.parameters,
            "load_s": round(self.load_s, 4),
            "load": {stage: round(seconds, 4) for stage, seconds in self.stages.items()},
            "read": {
                "mode": self.fetched.mode,
                "readers": self.fetched.readers,
                "direct": self.fetched.direct,
                "bytes": self.fetched.bytes_read,
            },
        }

    def _sha256(self, path: str, size_bytes: int) -> str:
        moved = {name for where, name in self._elsewhere if where == path}
        sha = hashlib.sha256()
        at = 0
        for span in self.spans.get(path, ()):
            if span.name in moved and span.offset_bytes >= at:
                sha.update(self.files[path][at : span.offset_bytes])
                sha.update(self.read(path, span.offset_bytes, span.size_bytes))
                at = span.offset_bytes + span.size_bytes
        sha.update(self.files[path][at:size_bytes])
        return sha.hexdigest()


def load(
    directory: str | os.PathLike[str],
    digest: str = "",
    *,
    arena: Arena | None = None,
    hugepages: bool = False,
    readers: int = 0,
) -> LoadedModel:
    """Load the sealed version in `directory`: each byte is read once, and checked before this returns.

    Memory grows by the files' sizes and a few MiB. `arena` is memory of an earlier model, after `reset`. `readers`
    fixes the number of readers; 0 measures the mount while it reads.

    Raises:
        NotSealed: No sealed version is there, or another one than `digest`.
        WrongBytes: A file has other bytes than the seal says.
        UnreadableMount: The mount failed.
        NoRoom: The arena is too small.
    """
    began = time.monotonic()
    version = read_seal(directory, digest)
    return load_sealed(version, time.monotonic() - began, arena=arena, hugepages=hugepages, readers=readers)


def arena_bytes(version: SealedVersion) -> int:
    """The size of the arena that a version needs."""
    return Arena.bytes_for(file.size_bytes for file in version.files)


def load_sealed(
    version: SealedVersion,
    seal_s: float = 0.0,
    *,
    arena: Arena | None = None,
    hugepages: bool = False,
    readers: int = 0,
) -> LoadedModel:
    """As `load`, of a version whose seal has been read, which took `seal_s`."""
    began = time.monotonic()
    memory = arena or Arena(arena_bytes(version), hugepages=hugepages)
    if arena_bytes(version) > memory.size_bytes:
        raise NoRoom(
            f"{version.model}@{version.version} needs {arena_bytes(version)} bytes, {memory.size_bytes} are there"
        )
    loading = [LoadingFile(version.directory / file.path, file, memory.take(file.size_bytes)) for file in version.files]
    allocated = time.monotonic()
    fetched = _fetched(loading, readers)
    read = time.monotonic()
    files = {file.sealed.path: memory.lend(file.memory[: file.sealed.size_bytes]) for file in loading}
    spans = {path: found for path, data in files.items() if (found := tensors.spans(path, data))}
    stages = {
        "seal": seal_s,
        "memory": allocated - began,
        "read": fetched.seconds - fetched.hash_seconds,
        "check": read - allocated - fetched.seconds + fetched.hash_seconds,
        "tensors": time.monotonic() - read,
    }
    return LoadedModel(version, files, spans, memory, fetched, stages)


def _fetched(files: list[LoadingFile], readers: int) -> FetchReport:
    """Read everything. Where a leaf is wrong the SHA-256 of the whole file decides: leaf digests are on the mount too.

    Raises: as `Fetch.run`.
    """
    try:
        return Fetch(files, readers=readers).run()
    except WrongBytes:
        if not any(file.sealed.leaves for file in files):
            raise
    whole = [LoadingFile(file.path, replace(file.sealed, leaves=(), leaf_bytes=0), file.memory) for file in files]
    return Fetch(whole, readers=readers).run()
