"""Free space of the disk that a SQLite record is on: a full one ends every release, and every heartbeat."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from syncd.state.db.url import sqlite_file

LOW_BYTES: Final = 256 << 20  # a day of a busy record's log of changes, and the time to notice
FULL_BYTES: Final = 8 << 20  # less than SQLite's own log may take before it is folded back
_HINT: Final = "free space on that disk, or move the record to a larger one"


@dataclass(frozen=True, slots=True)
class DiskFault:
    """What is wrong with the disk. `is_full`: the record can hardly be written."""

    reason: str
    hint: str
    is_full: bool


def fault(url: sa.URL) -> DiskFault | None:
    """What is wrong with the disk of a record; None where nothing is, and for PostgreSQL, whose disk is elsewhere."""
    file = sqlite_file(url)
    if file is None:
        return None
    try:
        found = os.statvfs(file)
    except OSError as error:
        return DiskFault(f"{file}: {error.strerror}", "is the disk mounted?", is_full=True)
    if found.f_flag & os.ST_RDONLY or not os.access(file, os.W_OK):
        hint = "syncd must be able to write there: check the mount and the file's owner"
        return DiskFault(f"{file} is read-only", hint, is_full=True)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes >= LOW_BYTES:
        return None
    reason = f"{file.parent}: {free_bytes >> 20} MiB are free, expected at least {LOW_BYTES >> 20}"
    return DiskFault(reason, _HINT, is_full=free_bytes < FULL_BYTES)
