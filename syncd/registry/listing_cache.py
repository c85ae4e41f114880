"""Caches of remote registries: the files of recent pins, and constant properties such as the date of a commit."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Generic, TypeVar

from syncd.artifact.names import (
    PATH_DEPTH_MAX,
    PATH_MAX_BYTES,
    FilePath,
    ModelName,
    VersionName,
    check_paths,
    parse_path,
    parse_version,
)
from syncd.errors import Conflict, Invalid, NotFound
from syncd.logs import Logger
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.values.file_table import FileTable
from syncd.values.patterns import selects
from syncd.values.source import Revision, SourceFile

T = TypeVar("T")

LATEST: Final = "latest"
FILES_MAX: Final = 100_000
FILES_HINT: Final = (
    "pack them into fewer files, or leave files out at the source; a directory registry has up to `transfer.files_max`"
)
TWICE: Final = "there twice"  # the refusal of a name that a version has two files of
_SNAPSHOTS_MAX: Final = 4
_SNAPSHOTS_FILES_MAX: Final = 100_000  # of all but the newest one; some 50 MB
_LARGE_FILES: Final = 10_000

_NUMBERS: Final = re.compile(r"(\d+)")

_log = Logger()


@dataclass(frozen=True, slots=True)
class Remote:
    """A listed file, and the address of its bytes."""

    file: SourceFile
    url: str


Files = Mapping[str, Remote]


def identity_of(found: Remote, revision: Revision) -> str:
    """What an ETag must stay the same for; empty where a digest decides whether the bytes are the right ones."""
    return "" if found.file.sha256 else f"{revision.pin}/{found.file.path}"


class ListingCache:
    """The files of recently pinned versions. Bounded; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Revision], Files] = OrderedDict()

    def keep(self, model: ModelName, revision: Revision, files: Files) -> Files:
        """Store the files and return them."""
        with self._lock:
            self._kept[model, revision] = files
            self._kept.move_to_end((model, revision))
            while len(self._kept) > _SNAPSHOTS_MAX or (
                len(self._kept) > 1 and sum(map(len, self._kept.values())) > _SNAPSHOTS_FILES_MAX
            ):
                self._kept.popitem(last=False)
        return files

    def kept(self, model: ModelName, revision: Revision) -> Files | None:
        """The cached files."""
        with self._lock:
            return self._kept.get((model, revision))

    def drop_large(self, model: ModelName, revision: Revision) -> None:
        """Forget the files of a large version before they are read again: both would be in memory at once."""
        with self._lock:
            if len(self._kept.get((model, revision), ())) > _LARGE_FILES:
                del self._kept[model, revision]

    def find(self, model: ModelName, revision: Revision, fetch: Callable[[], Files]) -> Files:
        """The cached files, or those of `fetch`."""
        kept = self.kept(model, revision)
        return self.keep(model, revision, fetch()) if kept is None else kept


class KeyedCache(Generic[T]):
    """Values that never change, such as the date of a commit. Bounded; safe from several threads."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, T] = OrderedDict()

    def find(self, key: str, fetch: Callable[[], T]) -> T:
        """The cached value, or that of `fetch`, which runs without the lock."""
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        found = fetch()
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found


def check_selected(models: Sequence[str], model: ModelName) -> None:
    """Raises NotFound: no pattern selects the model."""
    if not any(selects(pattern, model) for pattern in models):
        raise NotFound(f"{model} is not among the models of this registry", hint="check its `models` setting")


def version_name(text: str) -> VersionName:
    """Parse a version's name.

    Raises:
        Invalid: It is not allowed, or is `latest`.
    """
    if text == LATEST:
        raise Invalid(f"version name {LATEST!r} is reserved: it is the ref of the newest version")
    return parse_version(text)


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that compares numbers as numbers: v9 comes before v10."""
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in _NUMBERS.split(name))


def files_of(found: Iterable[Remote], what: str) -> Files:
    """The files of one version by path, ordered by path. Names are not checked yet: see `selected_files`.

    Raises:
        Invalid: There are none or too many.
    """
    files: dict[str, Remote] = {}
    for each in found:
        twice = each.file.path in files
        files[each.file.path] = replace(each, file=replace(each.file, refusal=TWICE)) if twice else each
        if len(files) > FILES_MAX:
            raise Invalid(f"{what} has more than {FILES_MAX} files", hint=FILES_HINT)
    if not files:
        raise Invalid(f"{what} has no files")
    is_ordered = all(one < other for one, other in pairwise(files))
    return files if is_ordered else {path: files[path] for path in sorted(files)}


def selected_files(files: Iterable[SourceFile], what: str, taking: FileFilter = EVERYTHING) -> Sequence[SourceFile]:
    """The files that a filter selects, in their order; of a table a table. Only these are checked.

    Raises:
        Invalid: None is selected; or of those that are, a name is refused, two collide, or one is a link or no file.
    """
    everything: Sequence[SourceFile]
    selected: Sequence[SourceFile]
    paths: Sequence[str]
    if isinstance(files, FileTable):
        everything, selected = files, files if taking == EVERYTHING else files.where(taking.takes)
        refused, paths = selected.refused, selected.paths
    else:
        everything = tuple(files)
        selected = tuple(file for file in everything if taking.takes(file.path))
        refused, paths = (file for file in selected if file.refusal), [file.path for file in selected]
    if not selected:
        hint = "check `take` and `leave` of the registry"
        raise Invalid(f"{what}: none of its {len(everything)} files is selected", hint=hint)
    for file in refused:
        leaving = json.dumps([file.path], ensure_ascii=not file.path.isprintable())
        fix = "rename one of the two" if file.refusal == TWICE else "put the file itself there"
        hint = f"{fix}, or leave it out: `leave = {leaving}` of the registry"
        raise Invalid(f"{what}: {file.path[:200]!r} is {file.refusal}", hint=hint)
    check_paths(paths)
    return selected


def name_shown(path: str) -> str:
    """A listed name in a message: unchanged where it is allowed, else escaped and shortened."""
    try:
        return parse_path(path)
    except Invalid:
        return repr(path if len(path) <= 120 else path[:117] + "...")


def directory_path(path: str) -> str:
    """A directory to list. Its name may be one that no file may have: what is in it may be left out.

    Raises:
        Invalid: It is too deep or too long, so that a listing would never end, or leads to another directory.
    """
    if path.count("/") >= PATH_DEPTH_MAX or len(path) > PATH_MAX_BYTES or {"", ".", ".."} & set(path.split("/")):
        parse_path(path)
    return path


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
    """The file with that path. Raises NotFound. Raises Invalid: The name or the entry is refused."""
    if path not in files:
        raise NotFound(f"{what} has no file {path[:200]!r}")
    selected_files([files[path].file], what)
    return files[path]


def check_unchanged(model: str, pinned: Revision, now: Revision) -> None:
    """Raises Conflict: the version has changed since it was pinned."""
    if now != pinned:
        raise Conflict(
            f"{model}@{pinned.version}: expected {pinned.pin} as pinned, got {now.pin}",
            hint="a published version must not change: give the new bytes a new version",
        )
