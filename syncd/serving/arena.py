"""Arena: memory for the files of one model, kept and used again for the next one.

Pages of fresh memory cost the kernel a fault and a clearing each; memory that held a model before costs neither.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable

from .errors import NoRoom

PAGE_BYTES = mmap.PAGESIZE
_HUGE_BYTES = 2 << 20
_HUGE_S = (
    0.0006  # CPU: what 2 MiB of small pages cost; a huge page at hand costs a seventh, one made by moving pages 5 ms
)
_SLACK_S = 0.01  # CPU that may be lost before the huge pages are given up


class Arena:
    """Page-aligned anonymous memory. Not safe from several threads, except for reads and writes of its regions.

    `hugepages` asks the kernel for huge pages: fewer faults. On fragmented memory each costs several times as much CPU
    as small pages; then the rest of the arena is of small ones.
    """

    def __init__(self, size_bytes: int, *, hugepages: bool = False) -> None:
        # Private: a page of shared memory, which is the default, costs half as much again at its first touch.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map = mmap.mmap(-1, max(PAGE_BYTES, _whole_pages(size_bytes)), flags=flags)
        self._huge = HugePages(self._map) if hugepages else None
        self._whole = memoryview(self._map)
        self._given: list[memoryview] = []
        self._used_bytes = 0

    @staticmethod
    def bytes_for(sizes_bytes: Iterable[int]) -> int:
        """The size of an arena for files of these sizes: each begins at a page."""
        return sum(_whole_pages(size) for size in sizes_bytes)

    @property
    def size_bytes(self) -> int:
        return len(self._map)

    def take(self, size_bytes: int) -> memoryview:
        """A region of whole pages for a file of `size_bytes`. Raises NoRoom where the arena is full."""
        room_bytes = _whole_pages(size_bytes)
        if self._used_bytes + room_bytes > len(self._map):
            raise NoRoom(f"{size_bytes} bytes do not fit: {self._used_bytes} of {len(self._map)} are in use")
        region = self._whole[self._used_bytes : self._used_bytes + room_bytes]
        self._used_bytes += room_bytes
        if self._huge is not None:
            self._huge.touch(self._used_bytes)
        self._given.append(region)
        return region

    def lend(self, view: memoryview) -> memoryview:
        """Note a view into a region, so that `reset` takes it back."""
        self._given.append(view)
        return view

    def reset(self) -> bool:
        """Take every region back. False where somebody still has an array over one: then never use this arena again.

        A view that was taken back raises ValueError when it is used: nobody reads another model's bytes through it.
        """
        try:
            while self._given:
                self._given[-1].release()
                self._given.pop()
            self._whole.release()
            self._map.resize(len(self._map))  # refused while anybody has a view, a slice of one too
        except BufferError:
            return False
        self._whole = memoryview(self._map)
        self._used_bytes = 0
        return True


class HugePages:
    """Huge pages of fresh memory, for as long as the kernel has them at hand. `cpu_s` is CPU time of the thread."""

    def __init__(self, memory: mmap.mmap, cpu_s: Callable[[], float] = time.thread_time) -> None:
        self._memory, self._cpu_s = memory, cpu_s
        self._done_bytes = 0
        self._spent_s = 0.0
        self.are_wanted = self._advise(mmap.MADV_HUGEPAGE)

    def touch(self, end_bytes: int) -> None:
        """Touch each huge page up to there once. Where they are dear the rest is left to small pages."""
        while self.are_wanted and self._done_bytes < end_bytes:
            began_s = self._cpu_s()
            self._memory[self._done_bytes] = 0  # fresh memory: what is there is a zero
            self._spent_s += self._cpu_s() - began_s
            self._done_bytes += _HUGE_BYTES
            if self._spent_s > _SLACK_S + self._done_bytes / _HUGE_BYTES * _HUGE_S:
                self.are_wanted = False
                self._advise(mmap.MADV_NOHUGEPAGE)

    def _advise(self, advice: int) -> bool:
        """False where this kernel has no huge pages."""
        try:
            self._memory.madvise(advice)
        except OSError:
            return False
        return True


class ArenaPool:
    """The arenas of a process within one budget, counted from `reserve` until `forget`.

    Not safe from several threads: its caller holds a lock, and does what takes long outside of it.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0  # of all arenas, free ones too
        self._free: list[Arena] = []

    def free(self, want_bytes: int) -> Arena | None:
        """The smallest free arena that is large enough, if there is one."""
        fitting = [each for each in self._free if want_bytes <= each.size_bytes]
        if not fitting:
            return None
        arena = min(fitting, key=lambda each: each.size_bytes)
        self._free.remove(arena)
        return arena

    def reserve(self, want_bytes: int) -> bool:
        """Whether a new arena of this size is within the budget; then it counts from now on."""
        if self.used_bytes + want_bytes > self.budget_bytes:
            return False
        self.used_bytes += want_bytes
        return True

    def surplus(self) -> Arena | None:
        """A free arena to be dropped, if there is one; `forget` it when its memory is gone."""
        return self._free.pop() if self._free else None

    def give(self, arena: Arena) -> None:
        """An arena that nobody has views of: free again."""
        self._free.append(arena)

    def forget(self, size_bytes: int) -> None:
        """So much memory is gone, or belongs to the caller that still has arrays over it."""
        self.used_bytes -= size_bytes


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
