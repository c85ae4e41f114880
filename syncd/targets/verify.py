"""Verification of objects: reading them back in pieces, or by the checksum that the store reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock, Thread
from types import TracebackType
from typing import Final, TypeVar

from syncd.artifact.digest import crc64 as crc64_of
from syncd.errors import Unavailable
from syncd.logs import Logger
from syncd.store.base import Stat, Store
from syncd.watchdog import note_activity, shared

S = TypeVar("S")
T = TypeVar("T")

_READ_BYTES: Final = 1 << 20
_READS_MAX: Final = 4  # of one object whose bytes are wrong, in another way each time
_log = Logger()


def pieces(store: Store, key: str, limit_bytes: int | None = None) -> Iterator[memoryview]:
    """The bytes of an object, not many more than `limit_bytes`; each piece is good until the next one."""
    buffer = memoryview(bytearray(_READ_BYTES))
    read_bytes = 0
    with store.open(key) as stream:
        while limit_bytes is None or read_bytes < limit_bytes:
            count = stream.readinto(buffer)
            if not count:
                return
            read_bytes += count
            note_activity()
            yield buffer[:count]


@dataclass(frozen=True, slots=True)
class Checksum:
    """The CRC-64 of an object, and what the store said of it where the checksum is the store's own."""

    crc64: int
    stat: Stat | None = None


def checksum(store: Store, key: str) -> Checksum:
    """The checksum of an object: the store's own, or where it keeps none that of every byte read back.

    Raises:
        NotFound: It is not there.
    """
    stat = store.stat(key) if store.traits.stat_has_crc64 else None
    if stat is not None and stat.crc64 is not None:
        return Checksum(stat.crc64, stat)
    crc64 = 0
    for piece in pieces(store, key):
        crc64 = crc64_of(piece, crc64)
    return Checksum(crc64)


def agreed(read: Callable[[], T], is_right: Callable[[T], bool], what: str) -> T:
    """The result of `read`, which is called again while it is not right: bits may flip on the way back.

    Right once is right; wrong is what was read twice alike.

    Raises:
        Unavailable: Each of several reads was wrong in another way.
    """
    wrong: list[T] = []
    for _ in range(_READS_MAX):
        got = read()
        if is_right(got) or got in wrong:
            return got
        wrong.append(got)
        _log.warning("target.read_again", message="What was read is wrong; it is read again.", what=what)
    raise Unavailable(
        f"{what}: {_READS_MAX} reads gave different bytes each time; the network may damage what it carries"
    )


def together(fn: Callable[[S], T], items: Sequence[S], threads: int) -> list[T]:
    """Apply `fn` to each item in so many threads; results in order. The first error ends it, and is raised.

    The threads share the caller's heartbeat, and one that hangs does not keep the process from ending.
    """
    answers: dict[int, T] = {}
    errors = _Errors()
    rest, lock = iter(range(len(items))), Lock()

    def serve() -> None:
        while not errors.found:
            with lock:
                index = next(rest, None)
            if index is None:
                return
            with errors:
                answers[index] = fn(items[index])

    helpers = [Thread(target=shared(serve), daemon=True) for _ in range(min(threads, len(items)) - 1)]
    for helper in helpers:
        helper.start()
    serve()
    for helper in helpers:
        helper.join()
    if errors.found:
        raise errors.found[0]
    return [answers[index] for index in range(len(items))]


class _Errors(AbstractContextManager[None]):
    """Collects errors raised inside, for the calling thread."""

    def __init__(self) -> None:
        self.found: list[BaseException] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        if error is not None:
            self.found.append(error)
        return True
