"""File filters: which files of a version are distributed. The filter is part of the pin.

A version is defined by its files, so a filter that is changed later must not change a published version: it applies
to versions that are pinned after it, and each pin records the filter it was made with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from syncd.errors import Invalid
from syncd.values.patterns import selects
from syncd.values.source import Revision

_MARK: Final = " {"  # no registry's pin has a space


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Patterns of files. Files that match `leave` are excluded, and with a `take` also those that do not match it.

    `*.bin` is a name in any directory, `unet/*.bin` a path, `onnx/` a top directory with everything below it;
    `*` matches any characters but '/'.
    """

    take: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether the filter selects a file."""
        return (not self.take or _any(self.take, path)) and not _any(self.leave, path)


EVERYTHING: Final = FileFilter()


def with_filter_mark(revision: Revision, files: FileFilter) -> Revision:
    """A registry's own revision, marked with the filter. A filter that selects everything adds no mark."""
    if not files.take and not files.leave:
        return revision
    mark = json.dumps({"take": files.take, "leave": files.leave}, separators=(",", ":"))
    return replace(revision, pin=f"{revision.pin} {mark}")


def without_filter_mark(revision: Revision) -> tuple[Revision, FileFilter]:
    """The registry's own revision, and the filter of its mark.

    Raises:
        Invalid: The mark is not one of syncd's.
    """
    pin, mark = _split(revision.pin)
    if not mark:
        return revision, FileFilter()
    try:
        document = json.loads(mark)
        files = FileFilter(tuple(document["take"]), tuple(document["leave"]))
    except (ValueError, TypeError, KeyError) as error:
        raise Invalid(f"{revision.version}: {mark[:80]!r} is not a file filter") from error
    return replace(revision, pin=pin), files


def as_published(revision: Revision, published_pin: str | None) -> Revision:
    """The current pin with the filter that the version was published with, if it was."""
    if published_pin is None:
        return revision
    own, mark = _split(revision.pin)[0], _split(published_pin)[1]
    return replace(revision, pin=f"{own} {mark}" if mark else own)


def _split(pin: str) -> tuple[str, str]:
    own, space, mark = pin.partition(_MARK)
    return own, f"{{{mark}" if space else ""


def _any(patterns: Iterable[str], path: str) -> bool:
    return any(_selects(pattern, path) for pattern in patterns)


def _selects(pattern: str, path: str) -> bool:
    if pattern.endswith("/"):
        parts = path.split("/")[:-1]
        wanted = pattern.removesuffix("/").split("/")
        return len(parts) >= len(wanted) and all(map(selects, wanted, parts))
    return selects(pattern, path if "/" in pattern else path.rpartition("/")[2])
