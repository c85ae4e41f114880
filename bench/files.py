"""The files that are carried: made once, random, not sparse, with the list that makes them a registry's version."""

import hashlib
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The checkpoints of a published test of switching between Stable Diffusion models, in GB.
CHECKPOINTS_GB = (3.97, 1.99, 3.95, 1.99, 5.55, 3.59, 3.97, 3.97, 5.13, 6.46)
LIST = "SHA256SUMS"
MODEL = "bench"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileSet:
    """One version in a directory registry."""

    registry: Path
    version: str
    sizes: Mapping[str, int]

    @property
    def directory(self) -> Path:
        return self.registry / MODEL / self.version

    @property
    def size_bytes(self) -> int:
        return sum(self.sizes.values())

    def warm(self) -> None:
        """Read all of it, so that it lies in the page cache."""
        buffer = bytearray(_BLOCK_BYTES)
        for name in self.sizes:
            with (self.directory / name).open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def checkpoints(scale: float) -> dict[str, int]:
    """The ten checkpoints at a scale; 1 is 40.57 GB."""
    return {f"checkpoint-{n:02}.dat": int(gb * 1e9 * scale) for n, gb in enumerate(CHECKPOINTS_GB)}


def small(count: int, size_bytes: int = 10_000) -> dict[str, int]:
    """Many small files, a hundred to a directory."""
    return {f"{n // 100:03}/{n:05}.json": size_bytes for n in range(count)}


def made(registry: Path, version: str, sizes: Mapping[str, int]) -> FileSet:
    """The version, made now unless it was made before with the same sizes. The same sizes give the same bytes."""
    files = FileSet(registry, version, sizes)
    sums = files.directory / LIST
    stamp = registry / f".{version}.sizes"
    wanted = repr(sorted(sizes.items()))
    if sums.exists() and stamp.exists() and stamp.read_text() == wanted:
        return files
    shutil.rmtree(files.directory, ignore_errors=True)
    chance = random.Random(version)
    lines = [f"{_write(files.directory / name, size, chance)}  {name}\n" for name, size in sizes.items()]
    sums.write_text("".join(lines))
    stamp.write_text(wanted)
    os.sync()
    return files


def names_in(directory: Path) -> list[str]:
    """The paths of a version's files, for uploaders that take one at a time."""
    paths = [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]
    return sorted(path for path in paths if path != LIST)


def _write(path: Path, size_bytes: int, chance: random.Random) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    left = size_bytes
    with path.open("wb", buffering=0) as file:
        while left:
            block = chance.randbytes(min(left, _BLOCK_BYTES))
            file.write(block)
            hasher.update(block)
            left -= len(block)
    return hasher.hexdigest()
