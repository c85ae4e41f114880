"""Which files of a version are taken. What was taken is told in the pin, and is kept to for as long as that is known.

A version is its files. So a rule that is changed later must not make another version of one that was published: it
is for versions that are pinned after it, and each pin says what it was made with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from syncd.errors import Invalid
from syncd.values.patterns import selects
from syncd.values.source import Revision

_MARK: Final = " {"  # no pin of a registry has a space


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Patterns of files; what `leave` has is left, and where there is a `take`, what it has not is left too.

    `*.bin` is a name in whatever directory, `unet/*.bin` a path, `onnx/` a directory at the top and all below it;
    `*` stands for any characters but '/'.
    """

    take: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether a file is taken."""
        return (not self.take or _any(self.take, path)) and not _any(self.leave, path)


def with_filter_mark(revision: Revision, taking: FileFilter) -> Revision:
    """A registry's own revision, with what is taken of it. Everything is no mark."""
    if not taking.take and not taking.leave:
        return revision
    mark = json.dumps({"take": taking.take, "leave": taking.leave}, separators=(",", ":"))
    return replace(revision, pin=f"{revision.pin} {mark}")


def without_filter_mark(revision: Revision) -> tuple[Revision, FileFilter]:
    """The registry's own revision, and what is taken of it.

    Raises:
        Invalid: The mark is none of ours.
    """
    pin, mark = _split(revision.pin)
    if not mark:
        return revision, FileFilter()
    try:
        document = json.loads(mark)
        taking = FileFilter(tuple(document["take"]), tuple(document["leave"]))
    except (ValueError, TypeError, KeyError) as error:
        raise Invalid(f"{revision.version}: {mark[:80]!r} does not say what is taken") from error
    return replace(revision, pin=pin), taking


def as_published(revision: Revision, published_pin: str | None) -> Revision:
    """What is pinned now, with what was taken of the version when it was published, if it ever was."""
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
