"""TensorFlow: a SavedModel's message; the index of a checkpoint, a sorted table that says what is in which shard.

The index is TensorFlow's table of blocks: at its end a footer with a magic number and the place of an index block,
whose entries are the places of the data blocks. Keys are shortened by what they share with the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from syncd.formats.contents import Contents, Need, cut_off, damaged
from syncd.formats.parsers import protobuf
from syncd.formats.parsers.protobuf import LENGTH, Cursor, EndlessError
from syncd.formats.spans import Span, Steps

SAVED_MODEL: Final = "saved_model.pb"
INDEX_ENDING: Final = ".index"
INDEX_BYTES_MAX: Final = 32 << 20
_META_GRAPH: Final = 2
_FOOTER_BYTES: Final = 48
_MAGIC: Final = (0xDB4775248B80FB57).to_bytes(8, "little")
_TRAILER_BYTES: Final = 5  # of a block: how it is packed, and a checksum
_SHARDS, _SHARD, _OFFSET, _SIZE = 1, 3, 4, 5


class _PackedError(Exception):
    """A block is compressed."""


def parse_saved_model(path: str, size_bytes: int) -> Steps[Contents]:
    """Check the message of a SavedModel.

    Raises:
        Corrupt: It is none, or was cut off.
    """
    cursor, graphs = Cursor(size_bytes), 0
    try:
        while cursor.at < size_bytes:
            each = yield from cursor.field(size_bytes)
            graphs += each.number == _META_GRAPH
            if each.wire == LENGTH:
                if each.end > size_bytes:
                    raise cut_off(path, size_bytes, f"its field {each.number} ends at {each.end}")
                cursor.at = each.end
    except protobuf.ProtobufError as error:
        raise damaged(path, f"is not a SavedModel, or was cut off: {error}") from error
    except EndlessError:
        return Contents("tensorflow", is_whole=False)
    if not graphs:
        raise damaged(path, "is not a SavedModel: it has no graph")
    return Contents("tensorflow")


def is_table(size_bytes: int) -> Steps[bool]:
    """Whether a file ends as TensorFlow's tables do."""
    if size_bytes < _FOOTER_BYTES:
        return False
    return (yield Span(size_bytes - len(_MAGIC), len(_MAGIC))) == _MAGIC


def parse_index(path: str, size_bytes: int, *, has_shards: bool) -> Steps[Contents]:
    """Check the index of a checkpoint; its needs are the shards. Without shards beside it, it may be something else.

    Raises:
        Corrupt: There are shards, and it is not an index of them; or it was cut off.
    """
    if not (yield from is_table(size_bytes)):
        if has_shards:
            raise damaged(path, "is not an index of a TensorFlow checkpoint, or was cut off")
        return Contents()
    if size_bytes > INDEX_BYTES_MAX:
        return Contents("tensorflow", is_whole=False)
    data = yield Span(0, size_bytes)
    try:
        needs = _shards(data, path.removesuffix(INDEX_ENDING))
    except _PackedError:
        return Contents("tensorflow", is_whole=False)
    except (ValueError, IndexError, protobuf.ProtobufError) as error:
        raise damaged(path, f"is not an index of a TensorFlow checkpoint that can be read: {error}") from error
    return Contents("tensorflow", needs=needs)


def _shards(data: bytes, base: str) -> tuple[Need, ...]:
    ends: dict[int, int] = {}
    shards = 0
    footer = len(data) - _FOOTER_BYTES
    at = _handle(data, footer)[2]  # the index of metadata comes first
    begin, size_bytes, _ = _handle(data, at)
    for _, place in _block(data, begin, size_bytes):
        begin, size_bytes, _ = _handle(place, 0)
        for key, value in _block(data, begin, size_bytes):
            found = {number: each for number, each in protobuf.fields(value).items() if isinstance(each, int)}
            if not key:
                shards = found.get(_SHARDS, 1)
            else:
                shard = found.get(_SHARD, 0)
                ends[shard] = max(ends.get(shard, 0), found.get(_OFFSET, 0) + found.get(_SIZE, 0))
    return tuple(Need(f"{base}.data-{shard:05}-of-{shards:05}", end) for shard, end in sorted(ends.items()))


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """The place of a block and its size, and where the next thing begins."""
    begin, at = _varint(data, at)
    size_bytes, at = _varint(data, at)
    return begin, size_bytes, at


def _block(data: bytes, begin: int, size_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    end = begin + size_bytes
    if end + _TRAILER_BYTES > len(data) or size_bytes < 4:
        raise ValueError(f"a block ends at {end} of {len(data)}")
    if data[end]:
        raise _PackedError
    restarts = int.from_bytes(data[end - 4 : end], "little")
    end -= 4 + 4 * restarts
    key, at = b"", begin
    while at < end:
        shared, at = _varint(data, at)
        own, at = _varint(data, at)
        value_bytes, at = _varint(data, at)
        if at + own + value_bytes > end or shared > len(key):
            raise ValueError(f"an entry at {at} goes on behind its block")
        key = key[:shared] + data[at : at + own]
        yield key, data[at + own : at + own + value_bytes]
        at += own + value_bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"a number of more than 10 bytes at {at}")
