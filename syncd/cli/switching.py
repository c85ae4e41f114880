"""The switching test: ten checkpoints of one function, loaded one after another, twice, by storage and by loader.

Names and sizes are those of the platform's own page on storage for GPU functions, scaled down. An object store's mount
is a real FUSE mount of the local cloud.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from syncd.localcloud.fuse import MountPace, can_mount, slow_mount
from syncd.serving import Arena, load
from syncd.serving.fetch import forget_mounts
from syncd.serving.leaves import LEAVES_FROM_BYTES, LEAVES_PATH, LeafHasher, pack_leaves
from syncd.serving.loader import arena_bytes
from syncd.serving.seal import SEAL_PATH, read_seal

CHECKPOINTS_GB: Final[Mapping[str, float]] = {
    "Anything-v4.5-pruned-mergedVae": 3.97,
    "Anything-v5.0-PRT-RE": 1.99,
    "CounterfeitV30_v30": 3.95,
    "Deliberate_v2": 1.99,
    "DreamShaper_6_NoVae": 5.55,
    "cetusMix_Coda2": 3.59,
    "chilloutmix_NiPrunedFp32Fix": 3.97,
    "pastelmix-fp32.ckpt": 3.97,
    "revAnimated_v122": 5.13,
    "sd_xl_base_1.0": 6.46,
}
_WEIGHTS: Final = "model.safetensors"
_TENSORS: Final = 32
_CHUNK_BYTES: Final = 1 << 20

Loader = Callable[[Path, bool], None]
"""Load the model in a directory until every byte of every tensor was touched. True for the first time."""


@dataclass(frozen=True, slots=True)
class SwitchTime:
    """Seconds to switch to a checkpoint. `round` is 1 for the first switch to it, 2 for the second."""

    storage: str
    loader: str
    checkpoint: str
    round: int
    size_bytes: int
    seconds: float


def checkpoints(root: Path, scale: float) -> None:
    """Write the ten checkpoints, sealed, scaled by `scale`: 1 is 40.57 GB. What is there already is kept."""
    for name, size_gb in CHECKPOINTS_GB.items():
        directory = root / name
        if not (directory / SEAL_PATH).exists():
            _checkpoint(directory, name, round(size_gb * 1e9 * scale))


def storages(pace: MountPace) -> dict[str, MountPace | None]:
    """The kinds of storage that this machine can play: without a right to mount only the directory."""
    found: dict[str, MountPace | None] = {"NAS, image layer (a directory)": None}
    if can_mount():
        cap = pace.bytes_s
        found["OSS mount"] = pace
        found["OSS mount, prefetching"] = MountPace(pace.latency_s, cap, prefetches=True)
        found["OSS mount with Accelerator"] = MountPace(pace.latency_s / 5, 2 * cap)
    return found


def loaders() -> dict[str, Loader]:
    """What loads, by name: the application's ways, and `syncd.serving`. Each call gives new ones: memory is theirs."""
    arenas: list[Arena] = []

    def serving(directory: Path, _is_first: bool) -> None:  # noqa: FBT001 -- one form for all
        want = arena_bytes(read_seal(directory))
        if not arenas or arenas[0].size_bytes < want or not arenas[0].reset():
            arenas[:] = [Arena(want)]
        load(directory, arena=arenas[0])

    known: dict[str, Loader] = {"hash, then read": _read_twice, "mmap": _mapped}
    if find_spec("safetensors") and find_spec("numpy"):
        known["safetensors"] = _safetensors
    if find_spec("runai_model_streamer") and find_spec("torch"):
        known["runai-model-streamer"] = _runai
    return known | {"syncd.serving": serving}


def versions() -> dict[str, str]:
    """The versions of the loaders that are installed."""
    return {name: version(name) for name in ("safetensors", "runai-model-streamer") if name in loaders()}


def measure(
    root: Path, where: Path, pace: MountPace, rounds: int, on_progress: Callable[[str], None]
) -> Iterator[SwitchTime]:
    """Switch to each checkpoint twice, with every loader in turn, `rounds` times."""
    for storage, slow in storages(pace).items():
        for _ in range(rounds):
            for loader, run in loaders().items():
                on_progress(f"{storage}: {loader}")
                with _mounted(root, where, slow) as place:
                    yield from _switches(place, storage, loader, run)


def _switches(place: Path, storage: str, loader: str, run: Loader) -> Iterator[SwitchTime]:
    for number in (1, 2):
        for name in CHECKPOINTS_GB:
            size_bytes = (place / name / _WEIGHTS).stat().st_size
            if number == 1:
                _forget_pages(place / name / _WEIGHTS)
            began = time.monotonic()
            run(place / name, number == 1)
            yield SwitchTime(storage, loader, name, number, size_bytes, time.monotonic() - began)


@contextmanager
def _mounted(root: Path, where: Path, pace: MountPace | None) -> Iterator[Path]:
    forget_mounts()
    with ExitStack() as stack:
        yield stack.enter_context(slow_mount(root, where, pace)) if pace else root


def _checkpoint(directory: Path, name: str, size_bytes: int) -> None:
    (directory / ".syncd").mkdir(parents=True, exist_ok=True)
    each = max(8, size_bytes // _TENSORS // 8 * 8)
    header = json.dumps(
        {f"t{n}": {"dtype": "U8", "shape": [each], "data_offsets": [n * each, (n + 1) * each]} for n in range(_TENSORS)}
    ).encode()
    header += b" " * (-len(header) % 8)
    sha256, leaves = hashlib.sha256(), LeafHasher()
    with (directory / _WEIGHTS).open("wb") as file:
        for piece in _pieces(struct.pack("<Q", len(header)) + header, each * _TENSORS):
            file.write(piece)
            sha256.update(piece)
            leaves.update(memoryview(piece))
        size = file.tell()
    entry = {"path": _WEIGHTS, "sha256": sha256.hexdigest(), "size": size}
    document = {"files": [entry], "format": "syncd/manifest/v1", "model": name, "version": "v1"}
    seal = json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    if size >= LEAVES_FROM_BYTES:
        digest = hashlib.sha256(seal).hexdigest()
        (directory / LEAVES_PATH).write_bytes(pack_leaves(digest, {_WEIGHTS: leaves.digests()}))
    (directory / SEAL_PATH).write_bytes(seal)


def _pieces(header: bytes, size_bytes: int) -> Iterator[bytes]:
    yield header
    block = os.urandom(_CHUNK_BYTES)
    for at in range(0, size_bytes, _CHUNK_BYTES):
        yield (struct.pack("<Q", at) + block[8:])[: min(_CHUNK_BYTES, size_bytes - at)]


def _read_twice(directory: Path, is_first: bool) -> None:  # noqa: FBT001
    """As the page describes the application: it hashes a model at its first load, and then reads it."""
    if is_first:
        with (directory / _WEIGHTS).open("rb") as file:
            hashlib.file_digest(file, "sha256")
    (directory / _WEIGHTS).read_bytes()


def _mapped(directory: Path, _is_first: bool) -> None:  # noqa: FBT001
    """As `safetensors` loads: the file is mapped, and a page is read when it is touched."""
    with (directory / _WEIGHTS).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shared:
        for at in range(0, len(shared), mmap.PAGESIZE):
            shared[at]


def _safetensors(directory: Path, _is_first: bool) -> None:  # noqa: FBT001
    load_file = import_module("safetensors.numpy").load_file
    for array in load_file(directory / _WEIGHTS).values():
        array[:: mmap.PAGESIZE].sum()


def _runai(directory: Path, _is_first: bool) -> None:  # noqa: FBT001
    with import_module("runai_model_streamer").SafetensorsStreamer() as streamer:
        streamer.stream_file(str(directory / _WEIGHTS))
        for _name, tensor in streamer.get_tensors():
            tensor[:: mmap.PAGESIZE].sum()


def _forget_pages(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno()) if os.access(path, os.W_OK) else None
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def table(times: Sequence[SwitchTime]) -> list[dict[str, object]]:
    """Seconds for all ten checkpoints: medians over the rounds, by storage and loader. Exact to a microsecond."""
    found = []
    for storage, loader in dict.fromkeys((each.storage, each.loader) for each in times):
        mine = [each for each in times if (each.storage, each.loader) == (storage, loader)]
        row: dict[str, object] = {"storage": storage, "loader": loader}
        for number, key in ((1, "first_s"), (2, "second_s")):
            by_name = {name: sorted(t.seconds for t in mine if (t.checkpoint, t.round) == (name, number))
                       for name in CHECKPOINTS_GB}  # fmt: skip
            row[key] = round(sum(values[len(values) // 2] for values in by_name.values()), 6)
        found.append(row)
    return found
