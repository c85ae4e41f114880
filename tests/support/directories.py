"""Directories of tests in memory, where a record is synced to disk at every commit and would wait for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


def in_memory() -> Path | None:
    """Where files are kept in memory; None on a machine that has no such place."""
    return _MEMORY if _MEMORY.is_dir() else None


@contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory for one test, in memory where the machine has such a place: a kill loses nothing there either."""
    home = Path(tempfile.mkdtemp(prefix="syncd-", dir=in_memory()))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
