"""Buffers for parts: reused, shared by all targets that a part goes to, and bounded in bytes."""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Callable
from threading import Condition
from typing import Final

from syncd.errors import Cancelled, Invalid

_SMALLEST_BYTES: Final = 64 << 10  # small files share the budget in pieces of this size
_LOOK_S: Final = 0.1  # how often somebody who waits for memory looks whether to stop


class Lease:
    """One buffer on loan. Everybody who needs it longer holds it, and lets it go once."""

    def __init__(self, pool: Pool, slab: mmap.mmap, size_bytes: int) -> None:
        self.view: Final = memoryview(slab)[:size_bytes]
        self._pool = pool
        self._slab = slab
        self._holders = 1

    def hold(self) -> None:
        """Keep it for one holder more. Only for somebody who holds it already, or was handed it by one."""
        with self._pool.changed:
            self._holders += 1

    def release(self) -> None:
        """Let go; with the last holder the buffer returns to the pool, and the view must not be used again."""
        with self._pool.changed:
            self._holders -= 1
            if not self._holders:
                self._pool.give_back(self._slab)


class Pool:
    """At most `limit_bytes` of buffers, on loan and idle together. Safe from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.changed: Final = Condition()
        self._limit_bytes = limit_bytes
        self._allocated_bytes = 0
        self._idle: defaultdict[int, list[mmap.mmap]] = defaultdict(list)

    def take(self, size_bytes: int, is_halted: Callable[[], bool]) -> Lease:
        """Wait for a buffer of this size.

        Raises:
            Invalid: It can never fit.
            Cancelled: `is_halted` said so while there was none.
        """
        capacity = max(_SMALLEST_BYTES, 1 << max(size_bytes - 1, 0).bit_length())
        if capacity > self._limit_bytes:
            raise Invalid(
                f"a part of {size_bytes} bytes does not fit into {self._limit_bytes} bytes of buffers",
                hint=f"set transfer.buffer_bytes to at least {2 * capacity}",
            )
        with self.changed:
            while (slab := self._find(capacity)) is None:
                if is_halted():
                    raise Cancelled("told to stop while waiting for a buffer")
                self.changed.wait(_LOOK_S)
        return Lease(self, slab, size_bytes)

    @property
    def allocated_bytes(self) -> int:
        """What the process spends on buffers now."""
        with self.changed:
            return self._allocated_bytes

    def give_back(self, slab: mmap.mmap) -> None:
        """Called by a lease, with `changed` held."""
        self._idle[len(slab)].append(slab)
        self.changed.notify_all()

    def _find(self, capacity: int) -> mmap.mmap | None:
        if self._idle[capacity]:
            return self._idle[capacity].pop()
        for size, slabs in self._idle.items():  # idle ones of other sizes make room; the last reference unmaps them
            while slabs and self._allocated_bytes + capacity > self._limit_bytes:
                slabs.pop()
                self._allocated_bytes -= size
        if self._allocated_bytes + capacity > self._limit_bytes:
            return None
        self._allocated_bytes += capacity
        return mmap.mmap(-1, capacity)
