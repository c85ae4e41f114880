"""The files of a version in columns: a million of them in some 100 MB, where as many objects take 600."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, overload

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.values.source import SourceFile

_INDEXED_MAX: Final = 20_000  # paths of a table that finds them by a dictionary: 3 MB, a tenth of the time of a search
_ENCODING: Final = ("utf-8", "surrogatepass")  # a path of another encoding has surrogates, and is refused by its name


class PathTable(Sequence[str]):
    """Paths that are ordered and distinct, in one run of bytes. Immutable; a path is made anew each time it is read."""

    __slots__ = ("_bytes", "_ends", "_places")

    def __init__(self, ordered: Iterable[str]) -> None:
        """`ordered` is read once, and must be ordered and without duplicates."""
        joined, ends = bytearray(), array("Q")
        for path in ordered:
            joined += path.encode(*_ENCODING)
            ends.append(len(joined))
        self._bytes = bytes(joined)
        self._ends = ends
        self._places: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        index = range(len(self._ends))[at]
        start = self._ends[index - 1] if index else 0
        return self._bytes[start : self._ends[index]].decode(*_ENCODING)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends:
            yield self._bytes[start:end].decode(*_ENCODING)
            start = end

    def find(self, path: str) -> int | None:
        """The place of a path; None if it is not there."""
        if len(self) <= _INDEXED_MAX:
            if self._places is None:
                self._places = {each: at for at, each in enumerate(self)}
            return self._places.get(path)
        at = bisect_left(self, path)
        return at if at < len(self) and self[at] == path else None


class FileTable(Sequence[SourceFile]):
    """Files ordered by their paths. Immutable; a file is made anew each time it is read."""

    __slots__ = ("_digests", "_refusals", "_sizes", "paths")

    def __init__(
        self,
        paths: PathTable,
        sizes: array[int],
        digests: Mapping[int, Digest] | None = None,
        refusals: Mapping[int, str] | None = None,
    ) -> None:
        """`sizes` are in bytes. Digests and refusals are by the file's place, of those that have one."""
        self.paths: Final = paths
        self._sizes = sizes
        self._digests = digests or {}
        self._refusals = refusals or {}

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, at: int) -> SourceFile: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[SourceFile]: ...
    def __getitem__(self, at: int | slice) -> SourceFile | Sequence[SourceFile]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        return self._made(range(len(self._sizes))[at], self.paths[at])

    def __iter__(self) -> Iterator[SourceFile]:
        for index, path in enumerate(self.paths):
            yield self._made(index, path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == each for one, each in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((len(self), self[0] if self else None))

    @property
    def refused(self) -> Iterator[SourceFile]:
        """The files that are never read."""
        return (self[index] for index in sorted(self._refusals))

    def where(self, is_chosen: Callable[[str], bool]) -> FileTable:
        """The files whose paths are chosen; itself if all are."""
        chosen = array("Q", (index for index, path in enumerate(self.paths) if is_chosen(path)))
        if len(chosen) == len(self):
            return self
        places = {old: new for new, old in enumerate(chosen) if old in self._digests or old in self._refusals}
        return FileTable(
            PathTable(self.paths[index] for index in chosen),
            array("q", (self._sizes[index] for index in chosen)),
            {new: self._digests[old] for old, new in places.items() if old in self._digests},
            {new: self._refusals[old] for old, new in places.items() if old in self._refusals},
        )

    def _made(self, index: int, path: str) -> SourceFile:
        return SourceFile(FilePath(path), self._sizes[index], self._digests.get(index), self._refusals.get(index, ""))


class SizesByPath(Mapping[str, int]):
    """The size in bytes of each file of a listing, by its path, without a copy of the paths."""

    def __init__(self, files: FileTable) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files.paths)

    def __getitem__(self, path: str) -> int:
        at = self._files.paths.find(path)
        if at is None:
            raise KeyError(path)
        return self._files[at].size_bytes


def sizes_by_path(files: Sequence[SourceFile]) -> Mapping[str, int]:
    """The size in bytes of each file of a listing, by its path."""
    return SizesByPath(files) if isinstance(files, FileTable) else {file.path: file.size_bytes for file in files}
