"""A file is checked both ways: by ranges, and as its bytes pass in pieces."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from syncd.errors import SyncdError
from syncd.formats.check import check
from syncd.formats.contents import Contents
from syncd.formats.spans import Passing, Pull, Ranges

SAMPLES = Path(__file__).parent / "samples"


@dataclass
class Reads:
    """The bytes of a file, and what was read of them."""

    data: bytes
    at: int = 0
    bytes_read: int = 0
    opened: list[int] = field(default_factory=list)

    def open_at(self, offset_bytes: int) -> Pull:
        self.at = offset_bytes
        self.opened.append(offset_bytes)
        return self.pull

    def pull(self, size_bytes: int) -> bytes:
        found = self.data[self.at : self.at + size_bytes]
        self.at += len(found)
        self.bytes_read += len(found)
        return found


def ranged(path: str, data: bytes, paths: Collection[str] = ()) -> Contents:
    return Ranges(path, Reads(data).open_at).run(check(path, len(data), paths))


def passed(path: str, data: bytes, piece_bytes: int = 1000, paths: Collection[str] = ()) -> Contents | None:
    passing = Passing(check(path, len(data), paths))
    for at in range(0, len(data), piece_bytes):
        passing.add(memoryview(data)[at : at + piece_bytes])
    return passing.end()


def both(path: str, data: bytes, paths: Collection[str] = ()) -> Contents | str:
    """What was found in a file, or the message of its refusal: the same both ways."""
    found: list[Contents | str | None] = []
    for way in (ranged, passed):
        try:
            found.append(way(path, data, paths=paths))
        except SyncdError as error:
            found.append(error.message if error.hint and path in error.message else f"not well said: {error.message}")
    assert found[0] == found[1]
    assert found[0] is not None
    assert not str(found[0]).startswith("not well said")
    return found[0]


def sample(name: str) -> bytes:
    """A file that a tool wrote which is too large to be installed for tests; `samples/README.md` says which and how."""
    return (SAMPLES / name).read_bytes()
