"""Inspection of a version at its source: completeness and contents, from a few ranges of each file."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Cancelled
from syncd.formats.check import check, is_read
from syncd.formats.contents import Contents
from syncd.formats.names import is_weights
from syncd.formats.spans import SKIP_BYTES_MAX, NoRangesError, Pull, Ranges
from syncd.formats.version import check_together
from syncd.registry.base import Registry
from syncd.values.file_table import sizes_by_path
from syncd.values.source import Revision, SourceFile, read_up_to, skipped_bytes
from syncd.watchdog import mark_progress

READS_MAX: Final = 4096  # of one version: some minutes; the remaining files are checked as they are read


@dataclass(frozen=True, slots=True)
class VersionInspection:
    """A version as its registry has it. `contents` has each file that was read.

    `unchecked` are files without ranges at the source: check them while they are copied.
    """

    revision: Revision
    files: Sequence[SourceFile]
    contents: Mapping[str, Contents]
    warnings: Sequence[str] = ()
    unchecked: Sequence[FilePath] = ()

    @property
    def parameters(self) -> Mapping[str, int]:
        """Number of parameters of each type, over all files; empty if a file has packed weights."""
        total: dict[str, int] = {}
        found = [each for each in self.contents.values() if each.format == "safetensors"]
        if any(each.tensors and not each.parameters for each in found):
            return total
        for each in found:
            for dtype, count in each.parameters.items():
                total[dtype] = total.get(dtype, 0) + count
        return total


def inspect(registry: Registry, model: ModelName, revision: Revision, stop: threading.Event) -> VersionInspection:
    """List a pinned revision, and check each file by its format, and the files against each other.

    Raises:
        Cancelled: `stop` was set.
        Corrupt: A file is truncated, or is not of the format of its name.
        Invalid: A file is missing, or a document that names others cannot be parsed.
        NotFound, Unavailable, Conflict, Refused: As the registry's own methods say.
    """
    files = registry.listing(model, revision)
    seen = _Seen(registry, model, revision, sizes_by_path(files))
    weights_first = chain((f for f in files if is_weights(f.path)), (f for f in files if not is_weights(f.path)))
    for file in weights_first:
        if stop.is_set():
            raise Cancelled(f"{file.path}: stopped during inspection")
        seen.inspect(file)
        mark_progress()
    warnings = check_together(seen.sizes, seen.contents)
    return VersionInspection(revision, files, seen.contents, warnings, seen.unchecked)


@dataclass(slots=True)
class _Seen:
    """Results of an inspection so far."""

    registry: Registry
    model: ModelName
    revision: Revision
    sizes: Mapping[str, int]
    contents: dict[str, Contents] = field(default_factory=dict)
    unchecked: list[FilePath] = field(default_factory=list)
    reads: int = 0
    has_ranges: bool = True

    def inspect(self, file: SourceFile) -> None:
        """Read the parts of a file that show whether it is complete."""
        path, size_bytes = file.path, file.size_bytes
        if not is_read(path, size_bytes):
            return
        with ExitStack() as opened:
            ranges = Ranges(path, lambda offset_bytes: self._open(path, offset_bytes, opened))
            try:
                found = ranges.run(check(path, size_bytes, self.sizes))
            except NoRangesError:
                self.unchecked.append(path)
                return
            finally:
                self.reads += ranges.opens
        if found.format:
            self.contents[path] = found

    def _open(self, path: FilePath, offset_bytes: int, opened: ExitStack) -> Pull:
        if self.reads >= READS_MAX or (offset_bytes > SKIP_BYTES_MAX and not self.has_ranges):
            raise NoRangesError
        opened.close()
        stream = opened.enter_context(self.registry.open(self.model, self.revision, path, offset_bytes))
        if skipped_bytes(stream) > SKIP_BYTES_MAX:
            self.has_ranges = False
            raise NoRangesError
        return lambda size_bytes: read_up_to(stream, size_bytes)
