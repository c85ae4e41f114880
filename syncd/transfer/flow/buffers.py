"""Part buffers: reused, shared by all targets that a part goes to, and bounded in bytes.

Some are common, the others spare: of the common ones a target may be sending as many as it likes, of the spare ones
no more than its share. So targets that hang cannot hold all of them, however many they are.
"""

from __future__ import annotations

import mmap
import time
from collections import defaultdict
from collections.abc import Callable
from threading import Condition
from typing import Final

from syncd.errors import Cancelled, Invalid

_SMALLEST_BYTES: Final = 64 << 10  # small files share the budget in pieces of this size
_POLL_S: Final = 0.1  # how often a thread that waits for memory checks whether to stop


class PartBuffer:
    """One buffer on loan, with a count of its holders. Each holder releases it once."""

    def __init__(self, pool: BufferPool, slab: mmap.mmap, size_bytes: int, *, is_common: bool) -> None:
        self.view: Final = memoryview(slab)[:size_bytes]
        self.capacity_bytes: Final = len(slab)
        self.is_common: Final = is_common
        self._pool = pool
        self._slab = slab
        self._holders = 1

    def hold(self) -> None:
        """Add a holder. Only for a caller that holds it, or was given it by a holder."""
        with self._pool.changed:
            self._holders += 1

    def release(self) -> None:
        """Release it; with the last holder the buffer returns to the pool, and the view must not be used again."""
        with self._pool.changed:
            self._holders -= 1
            if not self._holders:
                self._pool.give_back(self._slab, is_common=self.is_common)


class BufferPool:
    """At most `limit_bytes` of buffers, on loan and idle together. Safe from several threads."""

    def __init__(self, limit_bytes: int, common_bytes: int | None = None) -> None:
        self.changed: Final = Condition()
        self._limit_bytes = limit_bytes
        self._common_bytes = limit_bytes if common_bytes is None else common_bytes
        self._common_lent_bytes = 0
        self._allocated_bytes = self._waiting = 0
        self._idle: defaultdict[int, list[mmap.mmap]] = defaultdict(list)

    def take(
        self, size_bytes: int, is_halted: Callable[[], bool], on_starved: Callable[[float], None] | None = None
    ) -> PartBuffer:
        """Wait for a buffer of this size. `on_starved` is called, without a lock held, with the seconds of each wait.

        Raises:
            Invalid: It can never fit.
            Cancelled: `is_halted` said so while there was none.
        """
        capacity = _capacity(size_bytes)
        if capacity > self._limit_bytes:
            raise Invalid(
                f"a part of {size_bytes} bytes does not fit into {self._limit_bytes} bytes of buffers",
                hint=f"set transfer.buffer_bytes to at least {2 * capacity}",
            )
        buffer = self._lend(capacity, size_bytes)
        if buffer is not None:
            return buffer
        with self.changed:
            self._waiting += 1  # until it has one: what becomes free meanwhile is not for those who read ahead
        try:
            while (buffer := self._lend(capacity, size_bytes)) is None:
                if is_halted():
                    raise Cancelled("stopped while waiting for a buffer")
                began = time.monotonic()
                with self.changed:
                    if not self._has_room(capacity):
                        self.changed.wait(_POLL_S)
                if on_starved is not None:
                    on_starved(time.monotonic() - began)
            return buffer
        finally:
            with self.changed:
                self._waiting -= 1

    def take_spare(self, size_bytes: int) -> PartBuffer | None:
        """A buffer to read ahead into; None where there is none, or where another thread waits for one."""
        if self._waiting:
            return None
        return self._lend(_capacity(size_bytes), size_bytes)

    @property
    def allocated_bytes(self) -> int:
        """What the process spends on buffers now."""
        with self.changed:
            return self._allocated_bytes

    def give_back(self, slab: mmap.mmap, *, is_common: bool) -> None:
        """Called by a lease, with `changed` held."""
        self._common_lent_bytes -= len(slab) * is_common
        self._idle[len(slab)].append(slab)
        self.changed.notify_all()

    def _lend(self, capacity: int, size_bytes: int) -> PartBuffer | None:
        with self.changed:
            slab = self._find(capacity)
            if slab is None:
                return None
            is_common = self._common_lent_bytes + capacity <= self._common_bytes
            self._common_lent_bytes += capacity * is_common
            return PartBuffer(self, slab, size_bytes, is_common=is_common)

    def _has_room(self, capacity: int) -> bool:
        idle_bytes = sum(size * len(slabs) for size, slabs in self._idle.items())
        return self._allocated_bytes - idle_bytes + capacity <= self._limit_bytes

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


def _capacity(size_bytes: int) -> int:
    return max(_SMALLEST_BYTES, 1 << max(size_bytes - 1, 0).bit_length())
