"""Arena: memory for the files of one model, kept and used again for the next one.

Pages of fresh memory cost the kernel a fault and a clearing each; memory that held a model before costs neither.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

from .errors import NoRoom

PAGE_BYTES = mmap.PAGESIZE


class Arena:
    """Page-aligned anonymous memory. Not safe from several threads, except for reads and writes of its regions.

    `hugepages` asks the kernel for huge pages: fewer faults, but on fragmented memory five times the system time.
    """

    def __init__(self, size_bytes: int, *, hugepages: bool = False) -> None:
        self._map = mmap.mmap(-1, max(PAGE_BYTES, _whole_pages(size_bytes)))
        if hugepages:
            self._map.madvise(mmap.MADV_HUGEPAGE)
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


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
