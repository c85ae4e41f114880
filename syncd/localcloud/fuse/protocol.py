"""The FUSE protocol as far as a read-only file system needs it. Layouts and numbers: include/uapi/linux/fuse.h."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from typing import Final

LOOKUP: Final = 1
FORGET: Final = 2
GETATTR: Final = 3
OPEN: Final = 14
READ: Final = 15
STATFS: Final = 17
RELEASE: Final = 18
FLUSH: Final = 25
INIT: Final = 26
OPENDIR: Final = 27
READDIR: Final = 28
RELEASEDIR: Final = 29
INTERRUPT: Final = 36
DESTROY: Final = 38
BATCH_FORGET: Final = 42
UNANSWERED: Final = frozenset({FORGET, INTERRUPT, BATCH_FORGET})

IN_HEADER: Final = struct.Struct("<IIQQIIIHH")
OUT_HEADER: Final = struct.Struct("<IiQ")
READ_IN: Final = struct.Struct("<QQIIQII")
_INIT_IN: Final = struct.Struct("<IIII")
_INIT_OUT: Final = struct.Struct("<IIIIHHIIHH32x")
_ATTR: Final = struct.Struct("<QQQQQQIIIIIIIIII")
_OPEN_OUT: Final = struct.Struct("<QII")
_DIRENT: Final = struct.Struct("<QQII")

BUFFER_BYTES: Final = 136 << 10  # the kernel wants room for its largest request, a write
_ASYNC_READ, _ASYNC_DIO, _MAX_PAGES = 1 << 0, 1 << 15, 1 << 22
_IN_FLIGHT: Final = 256
_VALID_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the kernel; `body` is what follows its header."""

    opcode: int
    unique: int
    node: int
    body: bytes


def parse(data: bytes) -> Request:
    """A request from what was read of /dev/fuse."""
    length, opcode, unique, node, *_rest = IN_HEADER.unpack_from(data)
    return Request(opcode, unique, node, data[IN_HEADER.size : length])


def init_answer(body: bytes, max_read_bytes: int, *, splits: bool) -> bytes:
    """The answer to INIT. `splits`: the kernel sends the parts of a large direct read at once, not one by one."""
    major, minor, readahead, offered = _INIT_IN.unpack_from(body)
    flags = _ASYNC_READ | _MAX_PAGES | (_ASYNC_DIO if splits else 0)
    pages = max(1, max_read_bytes // 4096)
    return _INIT_OUT.pack(
        major, min(minor, 38), readahead, flags & offered, _IN_FLIGHT, _IN_FLIGHT, 128 << 10, 1, pages, 0
    )


def attributes(node: int, found: os.stat_result) -> bytes:
    """`struct fuse_attr`."""
    seconds = int(found.st_mtime)
    mode = (stat.S_IFDIR | 0o555) if stat.S_ISDIR(found.st_mode) else (stat.S_IFREG | 0o444)
    size = found.st_size
    return _ATTR.pack(node, size, -(-size // 512), *[seconds] * 3, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def entry_answer(node: int, found: os.stat_result) -> bytes:
    """The answer to LOOKUP."""
    return struct.pack("<QQQQII", node, 0, _VALID_S, _VALID_S, 0, 0) + attributes(node, found)


def attributes_answer(node: int, found: os.stat_result) -> bytes:
    """The answer to GETATTR."""
    return struct.pack("<QII", _VALID_S, 0, 0) + attributes(node, found)


def open_answer(handle: int) -> bytes:
    """The answer to OPEN and OPENDIR."""
    return _OPEN_OUT.pack(handle, 0, 0)


def statfs_answer() -> bytes:
    """The answer to STATFS: an empty file system."""
    return struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)


def directory_answer(names: list[tuple[str, int, int]], begin: int, limit_bytes: int) -> bytes:
    """The answer to READDIR: names with node and type, from the `begin`-th on, as many as fit."""
    found = b""
    for number, (name, node, kind) in enumerate(names[begin:], start=begin + 1):
        data = name.encode()
        entry = _DIRENT.pack(node, number, len(data), kind >> 12) + data
        entry += b"\0" * (-len(entry) % 8)
        if len(found) + len(entry) > limit_bytes:
            break
        found += entry
    return found
