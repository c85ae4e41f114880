"""Budget for unfinished bodies: what all callers together may have sent of requests that are not complete."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

BODIES_MAX_BYTES: Final = 4 << 20  # 4 of the longest bodies; a delivery has some kilobytes


class UnfinishedBody:
    """The bytes of a body so far."""

    def __init__(self, address: str, timeout: asyncio.Timeout, count: Callable[[UnfinishedBody, int], None]) -> None:
        self.address = address
        self.size_bytes = 0
        self.is_dropped = False
        self._pieces: list[bytes] = []  # joined once: a buffer that grows leaves holes behind it, many times its size
        self._timeout = timeout
        self._count = count

    def add(self, piece: bytes) -> None:
        """Append a piece. Bodies over the budget are dropped then, which may be this one."""
        if not self.is_dropped:
            self._pieces.append(piece)
            self.size_bytes += len(piece)
            self._count(self, len(piece))

    def whole(self) -> bytes:
        """All that was added."""
        return b"".join(self._pieces)

    def drop(self) -> None:
        """Free the bytes and end the wait for more."""
        self.is_dropped = True
        self._pieces.clear()
        self._timeout.reschedule(asyncio.get_running_loop().time())


class BodyBudget:
    """Unfinished bodies of one server. Its methods are called in the server's event loop only.

    Over the budget, the largest body of the address that has the most is dropped: a short delivery of someone else is
    read whole however many long ones are begun.
    """

    def __init__(self) -> None:
        self._sizes: dict[UnfinishedBody, int] = {}
        self._by_address: Counter[str] = Counter()
        self._total = 0

    @contextmanager
    def body(self, address: str, timeout: asyncio.Timeout) -> Iterator[UnfinishedBody]:
        """A body that is unfinished inside the block. `timeout` ends the wait for it, also when it is dropped."""
        begun = UnfinishedBody(address, timeout, self._count)
        self._sizes[begun] = 0
        try:
            yield begun
        finally:
            self._forget(begun)

    def _count(self, body: UnfinishedBody, size_bytes: int) -> None:
        self._sizes[body] += size_bytes
        self._by_address[body.address] += size_bytes
        self._total += size_bytes
        while self._total > BODIES_MAX_BYTES:
            address, _ = max(self._by_address.items(), key=lambda each: each[1])
            largest = max((b for b in self._sizes if b.address == address), key=self._sizes.__getitem__)
            self._forget(largest)
            largest.drop()

    def _forget(self, body: UnfinishedBody) -> None:
        size_bytes = self._sizes.pop(body, 0)
        self._total -= size_bytes
        self._by_address[body.address] -= size_bytes
        if self._by_address[body.address] <= 0:
            del self._by_address[body.address]
