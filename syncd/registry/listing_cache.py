"""What was pinned last, kept for a while, and what was refused, told once: every remote registry has both."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from syncd.artifact.names import FilePath, ModelName, VersionName, parse_paths, parse_version
from syncd.errors import Conflict, Invalid, NotFound
from syncd.logs import Logger
from syncd.values.patterns import selects
from syncd.values.source import Revision, SourceFile

T = TypeVar("T")

LATEST: Final = "latest"
FILES_MAX: Final = 100_000
_SNAPSHOTS_MAX: Final = 4  # each some 30 MB for 100 000 files

_NUMBERS: Final = re.compile(r"(\d+)")

_log = Logger()


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as it is listed, and the address of its bytes."""

    file: SourceFile
    url: str


Files = Mapping[str, Remote]


def identity_of(found: Remote, revision: Revision) -> str:
    """What an ETag must stay the same for; empty where a digest decides whether the bytes are the right ones."""
    return "" if found.file.sha256 else f"{revision.pin}/{found.file.path}"


class ListingCache:
    """The files of the versions that were pinned last. Bounded; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Revision], Files] = OrderedDict()

    def keep(self, model: ModelName, revision: Revision, files: Files) -> Files:
        """Remember, and give back."""
        with self._lock:
            self._kept[model, revision] = files
            self._kept.move_to_end((model, revision))
            while len(self._kept) > _SNAPSHOTS_MAX:
                self._kept.popitem(last=False)
        return files

    def find(self, model: ModelName, revision: Revision, look: Callable[[], Files]) -> Files:
        """What is remembered, or what `look` finds."""
        with self._lock:
            kept = self._kept.get((model, revision))
        return self.keep(model, revision, look()) if kept is None else kept


class KeyedCache(Generic[T]):
    """A few answers that never change, such as the date of a commit. Bounded; safe from several threads."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, T] = OrderedDict()

    def find(self, key: str, look: Callable[[], T]) -> T:
        """What is remembered, or what `look` says; that is asked without holding others up."""
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        found = look()
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found


def check_selected(models: Sequence[str], model: ModelName) -> None:
    """Raises NotFound: No pattern selects the model."""
    if not any(selects(pattern, model) for pattern in models):
        raise NotFound(f"{model} is not among the models of this registry", hint="see its `models` setting")


def version_name(text: str) -> VersionName:
    """A version's name.

    Raises:
        Invalid: It is not allowed, or is `latest`.
    """
    if text == LATEST:
        raise Invalid(f"version name {LATEST!r} is taken: it is what the newest version is asked for by")
    return parse_version(text)


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers in a version's name are compared as numbers: v9 comes before v10."""
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in _NUMBERS.split(name))


def files_of(found: Iterable[Remote], what: str) -> Files:
    """The files of one version by path, in the order of the paths.

    Raises:
        Invalid: There are none or too many, or two names collide.
    """
    files: list[Remote] = []
    for each in found:
        files.append(each)
        if len(files) > FILES_MAX:
            raise Invalid(f"{what} has more than {FILES_MAX} files")
    if not files:
        raise Invalid(f"{what} has no files")
    parse_paths(each.file.path for each in files)
    return {each.file.path: each for each in sorted(files, key=lambda each: each.file.path)}


def source_files(files: Files) -> tuple[SourceFile, ...]:
    """What a listing gives."""
    return tuple(each.file for each in files.values())


def tree_digest(files: Files, mark: Callable[[Remote], str]) -> str:
    """sha256 over "path NUL size NUL (sha256, or another mark) newline": a pin where the registry has none."""
    tree = hashlib.sha256()
    for path, each in files.items():
        sha256 = each.file.sha256
        tree.update(
            f"{path}\0{each.file.size_bytes}\0{mark(each) if sha256 is None else sha256}\n".encode(
                "utf-8", "surrogatepass"
            )
        )
    return tree.hexdigest()


def file_at(files: Files, what: str, path: FilePath) -> Remote:
    """The file of that name. Raises NotFound: There is none."""
    if path not in files:
        raise NotFound(f"{what} has no file {path!r}")
    return files[path]


def check_unchanged(model: str, pinned: Revision, now: Revision) -> None:
    """Raises Conflict: A version is not what it was when it was pinned."""
    if now != pinned:
        raise Conflict(
            f"{model}@{pinned.version} is now {now.pin}, {pinned.pin} was pinned",
            hint="a published version must not be written again: give the new bytes a new version",
        )
