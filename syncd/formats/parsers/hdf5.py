"""HDF5: its superblock says where the file ends."""

from __future__ import annotations

from typing import Final

from syncd.formats.contents import Contents, cut_off, damaged, shown
from syncd.formats.spans import Span, Steps

FORMAT: Final = "hdf5"
MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_STARTS: Final = (0, 512, 1024, 2048)  # a user's block may come before
_HEAD_BYTES: Final = 4096
_VERSION_AT: Final = 8
_SIZES: Final = frozenset({2, 4, 8})
# Where the size of an address is said, and how many bytes before the addresses, by the version of the superblock.
_LAYOUTS: Final = {0: (13, 24), 1: (13, 28), 2: (9, 12), 3: (9, 12)}


def parse(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a file, from its superblock alone.

    Raises:
        Corrupt: It is not an HDF5 file, or is shorter than it says.
    """
    head = yield Span(0, min(_HEAD_BYTES, size_bytes))
    start = next((each for each in _STARTS if head.startswith(MAGIC, each)), None)
    if start is None:
        raise damaged(path, f"is not an HDF5 file: it begins with {shown(head)}", "something else was saved there")
    block = head[start : start + 64]
    if len(block) <= _VERSION_AT:
        raise cut_off(path, size_bytes, "its superblock alone is longer")
    version = block[_VERSION_AT]
    if version not in _LAYOUTS:
        return Contents(FORMAT, is_whole=False)
    at_size, fixed = _LAYOUTS[version]
    address_bytes = block[at_size] if len(block) > at_size else 0
    end_at = fixed + 2 * address_bytes  # behind the base and the extension or the free space
    if len(block) < end_at + address_bytes:
        raise cut_off(path, size_bytes, f"its superblock alone ends at {start + end_at + max(address_bytes, 2)}")
    if address_bytes not in _SIZES:
        raise damaged(path, f"is not an HDF5 file: its addresses have {address_bytes} bytes")
    end = int.from_bytes(block[end_at : end_at + address_bytes], "little")
    if end == (1 << 8 * address_bytes) - 1:  # not defined
        return Contents(FORMAT, is_whole=False)
    if end > size_bytes:
        raise cut_off(path, size_bytes, f"its superblock says that it ends at {end}")
    return Contents(FORMAT)
