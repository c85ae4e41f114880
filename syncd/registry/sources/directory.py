"""Directory registry: `<root>/<model>/<version>/`, complete when its marker or list is.

A version is complete when it has `MANIFEST.json` or `SHA256SUMS`, every listed file exists with its size,
and no other file exists; or when it has `READY`, `_SUCCESS` or `.complete` and, with a list, every listed file.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName, VersionName, parse_model, parse_path, parse_version
from syncd.errors import Conflict, Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.logs import Logger
from syncd.registry.checksum_files import ListedFile, parse_manifest, parse_sums
from syncd.registry.directory_tree import (
    FoundFile,
    Tree,
    TreeSnapshot,
    check_no_links,
    directories,
    open_beneath,
    reading,
    scan,
)
from syncd.registry.listing_cache import (
    LATEST,
    check_selected,
    check_unchanged,
    name_shown,
    selected_files,
    version_name,
)
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.settings import DirectorySettings
from syncd.values.file_table import FileTable
from syncd.values.patterns import selects
from syncd.values.source import Candidate, Revision, SourceFile, Stream

LISTS: Final = ("MANIFEST.json", "SHA256SUMS")  # the first one that exists counts
MARKERS: Final = ("READY", "_SUCCESS", ".complete")
_NOT_FILES: Final = frozenset({*LISTS, *MARKERS})
_LIST_BYTES_MAX: Final = 18 << 20  # + 44 MiB that is made of it; 180 bytes for each of 100 000 files
_SNAPSHOTS_MAX: Final = 4
_LARGE_FILES: Final = 10_000
_SNAPSHOTS_FILES_MAX: Final = 100_000  # of all but the newest one: some 10 MB

_log = Logger()


@dataclass(frozen=True, slots=True)
class _Marks:
    """The markers and lists at the top of a version's directory, each with its status."""

    found: Mapping[str, os.stat_result]

    @property
    def list_name(self) -> str | None:
        return next((name for name in LISTS if name in self.found), None)

    @property
    def has_marker(self) -> bool:
        return any(name in self.found for name in MARKERS)

    @property
    def made_at_ns(self) -> int:
        """When the last of them was written: the version's age."""
        return max(status.st_mtime_ns for status in self.found.values())

    @property
    def signature(self) -> tuple[tuple[str, int, int, int], ...]:
        """A value that changes when one of them is written again."""
        return tuple(sorted((n, s.st_ino, s.st_size, s.st_mtime_ns) for n, s in self.found.items()))


_Signature = tuple[tuple[str, int, int, int], ...]


class _IncompleteVersion(Unavailable):
    """It is still being written, or will never be finished."""


class DirectoryRegistry:
    """Versions in a local or mounted directory. Only reads; safe from several threads; `now` is seconds since 1970."""

    def __init__(self, settings: DirectorySettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._complete: dict[tuple[str, str], tuple[_Signature, FileFilter]] = {}
        self._snapshots: OrderedDict[tuple[str, Revision], TreeSnapshot] = OrderedDict()
        self._warned: set[str] = set()

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        """See `rules.filtered.Source`. A complete version is not scanned again until a marker changes."""
        self._check_root()
        found = []
        for owner, version in self._version_directories(model):
            aged = self._complete_at_ns(owner, version, taking) if model in {None, owner} else None
            if aged is not None:
                found.append((owner, aged, version))
        return tuple(Candidate(owner, version) for owner, _, version in sorted(found))

    def resolve(self, model: ModelName, ref: str, taking: FileFilter = EVERYTHING) -> Revision:
        """See `rules.filtered.Source`. A ref is a version's name, or `latest`: the complete one marked last."""
        self._check_root()
        parse_model(model)
        check_selected(self._settings.models, model)
        check_no_links(self._settings.root, model)
        version = self._latest(model, taking) if ref == LATEST else version_name(ref)
        snapshot = self._read(model, version)
        _selected(model, version, snapshot, taking)
        revision = Revision(version, snapshot.pin)
        self._remember(model, revision, snapshot)
        return revision

    def listing(self, model: ModelName, revision: Revision, taking: FileFilter = EVERYTHING) -> Sequence[SourceFile]:
        """See `rules.filtered.Source`; ordered by path.

        Raises:
            NotFound: The version's directory is gone.
        """
        snapshot = self._pinned(model, revision)
        return _selected(model, revision.version, snapshot, taking)

    def location_of(self, model: ModelName, revision: Revision, path: FilePath) -> None:
        """See `registry.base.Registry`. None: a store cannot copy from here."""

    def open(
        self,
        model: ModelName,
        revision: Revision,
        path: FilePath,
        offset_bytes: int = 0,
        *,
        sha256: Digest | None = None,
        until_bytes: int | None = None,
    ) -> Stream:
        """See `registry.base.Registry`.

        Raises:
            Conflict: The file, or one of its directories, differs from the pinned one.
            Invalid: The offset is outside of the file.
        """
        del sha256, until_bytes  # what is pinned of a file here changes with its bytes
        with self._lock:
            snapshot = self._snapshots.get((model, revision))
        snapshot = snapshot or self._pinned(model, revision)
        at = snapshot.files.paths.find(path)
        if at is None:
            raise NotFound(f"{model}@{revision.version} has no file {path[:200]!r}")
        file = snapshot.files[at]
        selected_files([file], f"{model}@{revision.version}")
        found = FoundFile(path, file.size_bytes, snapshot.times_ns[at])
        if not 0 <= offset_bytes <= found.size_bytes:
            raise Invalid(f"{path}: offset {offset_bytes} is not within its {found.size_bytes} bytes")
        directory = f"{model}/{revision.version}"
        try:
            return open_beneath(self._settings.root, directory, found, offset_bytes, same_time=file.sha256 is None)
        except NotFound:
            self._check_root()  # a lost mount does not prove absence
            raise

    def _check_root(self) -> None:
        root = self._settings.root
        hint = "is it mounted? check the `path` setting of the registry"
        try:
            with reading(str(root)):
                mode = root.stat().st_mode
        except NotFound as error:
            raise Unavailable(error.message, hint=hint) from error
        if not stat.S_ISDIR(mode):
            raise Unavailable(f"{root} is not a directory", hint=hint)

    def _version_directories(self, model: ModelName | None) -> Iterator[tuple[ModelName, VersionName]]:
        """Every directory with a marker and an allowed name at a version's level; of a model, or of all."""
        root = self._settings.root
        owner, _, name = (model or "").partition("/")
        nested = any("/" in pattern for pattern in self._settings.models)
        for first in directories(root):
            for second in self._directories(root / first) if owner in {"", first} else ():
                if name not in {"", second}:
                    continue
                if self._is_marked(f"{first}/{second}"):
                    yield from self._named(first, second)
                elif nested and (name or not owner):
                    for third in self._directories(root / first / second):
                        if self._is_marked(f"{first}/{second}/{third}"):
                            yield from self._named(f"{first}/{second}", third)

    def _directories(self, parent: Path) -> list[str]:
        try:
            return directories(parent)
        except NotFound:  # it was deleted meanwhile
            return []
        except Refused as error:
            self._warn_once(str(parent.relative_to(self._settings.root)), error)
            return []

    def _is_marked(self, directory: str) -> bool:
        try:
            return bool(self._marks(directory).found)
        except Refused as error:
            self._warn_once(directory, error)
            return False

    def _named(self, model: str, version: str) -> Iterator[tuple[ModelName, VersionName]]:
        try:
            name = parse_model(model)
            if any(selects(pattern, name) for pattern in self._settings.models):
                yield name, version_name(version)
        except Invalid as error:
            self._warn_once(f"{model}/{version}", error)

    def _warn_once(self, what: str, error: SyncdError) -> None:
        with self._lock:
            is_known = f"{what}: {error}" in self._warned
            self._warned.add(f"{what}: {error}")
        if not is_known:
            _log.warning(
                "registry.version_refused",
                message="A version of a registry was left out.",
                directory=what,
                reason=error.message,
                hint=error.hint,
            )

    def _complete_at_ns(self, model: ModelName, version: VersionName, taking: FileFilter) -> int | None:
        marks = self._marks(f"{model}/{version}")
        with self._lock:
            known = self._complete.get((model, version))
        if known is None or known != (marks.signature, taking):
            try:
                _selected(model, version, self._read(model, version), taking)
            except (NotFound, _IncompleteVersion):
                return None
            except (Invalid, Refused, Unavailable) as error:
                self._check_root()  # one version that cannot be read must not hide the others, a lost mount must
                self._warn_once(f"{model}/{version}", error)
                return None
            with self._lock:
                self._complete[model, version] = (marks.signature, taking)
        return marks.made_at_ns

    def _latest(self, model: ModelName, taking: FileFilter) -> VersionName:
        aged = []
        marked = 0
        for name in self._directories(self._settings.root / model):
            for _, version in self._named(model, name) if self._is_marked(f"{model}/{name}") else ():
                marked += 1
                made_at_ns = self._complete_at_ns(model, version, taking)
                aged += [] if made_at_ns is None else [(made_at_ns, version)]
        if not aged:
            raise Unavailable(f"{model} has no complete version; {marked} have a marker")
        return max(aged)[1]

    def _marks(self, directory: str) -> _Marks:
        place = self._settings.root / directory
        found = {}
        for name in (*LISTS, *MARKERS):
            try:
                with reading(str(place / name)):
                    found[name] = (place / name).lstat()
            except NotFound:
                continue
        return _Marks(found)

    def _pinned(self, model: ModelName, revision: Revision) -> TreeSnapshot:
        self._check_root()
        parse_model(model)
        self._drop_large(model, revision)
        try:
            snapshot = self._read(model, parse_version(revision.version))
        except _IncompleteVersion as error:
            raise Conflict(f"{model}@{revision.version} is no longer complete: {error}") from error
        check_unchanged(model, revision, Revision(revision.version, snapshot.pin))
        self._remember(model, revision, snapshot)
        return snapshot

    def _drop_large(self, model: ModelName, revision: Revision) -> None:
        """Forget the files of a large version before they are read again: both would be in memory at once."""
        with self._lock:
            kept = self._snapshots.get((model, revision))
            if kept is not None and len(kept.files) > _LARGE_FILES:
                del self._snapshots[model, revision]

    def _remember(self, model: ModelName, revision: Revision, snapshot: TreeSnapshot) -> None:
        with self._lock:
            self._snapshots[model, revision] = snapshot
            self._snapshots.move_to_end((model, revision))
            while len(self._snapshots) > _SNAPSHOTS_MAX or (
                len(self._snapshots) > 1
                and sum(len(each.files) for each in self._snapshots.values()) > _SNAPSHOTS_FILES_MAX
            ):
                self._snapshots.popitem(last=False)

    def _read(self, model: ModelName, version: VersionName) -> TreeSnapshot:
        """Scan a version and compare it with its list."""
        directory = f"{model}/{version}"
        check_no_links(self._settings.root, directory)
        marks = self._marks(directory)
        if not marks.found:
            accepted = ", ".join((*MARKERS, *LISTS))
            raise _IncompleteVersion(f"{model}@{version} has no marker yet", hint=f"write one of {accepted} last")
        listed = self._listed(model, version, marks)
        top = self._settings.root / directory
        tree = scan(top, frozenset(listed or ()), self._settings.limits, frozenset(marks.found))
        if _NOT_FILES.issuperset(tree.paths):
            raise _IncompleteVersion(f"{model}@{version} has no files yet")
        if listed is None:
            self._check_settled(model, version, tree)
        digests = {path: item.sha256 for path, item in (listed or {}).items() if item.sha256 is not None}
        snapshot = tree.snapshot(_NOT_FILES, digests)
        if listed is not None:
            _check_list(f"{model}@{version}", snapshot.files, listed, marks)
        return snapshot

    def _listed(self, model: ModelName, version: VersionName, marks: _Marks) -> dict[str, ListedFile] | None:
        name = marks.list_name
        if name is None:
            return None
        place = self._settings.root / model / version / name
        if marks.found[name].st_size > _LIST_BYTES_MAX:
            raise Invalid(f"{place} has {marks.found[name].st_size} bytes, at most {_LIST_BYTES_MAX} are read")
        with reading(str(place)):
            fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                data = file.read(_LIST_BYTES_MAX)
        try:
            listed = parse_sums(data) if name == "SHA256SUMS" else parse_manifest(data, model, version)
        except Unavailable as error:
            raise _IncompleteVersion(f"{model}@{version}: {error}", hint=error.hint) from error
        return {item.path: item for item in listed if item.path not in _NOT_FILES}

    def _check_settled(self, model: ModelName, version: VersionName, tree: Tree) -> None:
        now = self._now()
        is_late = [at for at, ns in enumerate(tree.times_ns) if now - ns / 1e9 < self._settings.settle_s]
        late = [at for at in is_late if _selectable(tree, at)]
        if is_late and not late and not any(_selectable(tree, at) for at in range(len(tree.paths))):
            late = is_late
        if not late:
            return
        newest = max(late, key=tree.times_ns.__getitem__)
        quiet_s = now - tree.times_ns[newest] / 1e9
        raise _IncompleteVersion(
            f"{model}@{version}: {name_shown(tree.paths[newest])} was written {quiet_s:.1f} s ago, "
            f"it must be unchanged for {self._settings.settle_s:g} s",
            hint="to publish without this wait, write a MANIFEST.json or SHA256SUMS last",
        )


def _selectable(tree: Tree, at: int) -> bool:
    """Whether a file could be selected: one that never is need not settle."""
    path = tree.paths[at]
    return path not in tree.refusals and name_shown(path) == path


def _selected(
    model: ModelName, version: VersionName, snapshot: TreeSnapshot, taking: FileFilter
) -> Sequence[SourceFile]:
    return selected_files(snapshot.files, f"{model}@{version}", taking)


def _check_list(what: str, files: FileTable, listed: Mapping[str, ListedFile], marks: _Marks) -> None:
    """Raises _IncompleteVersion if list and files differ. With a marker, unlisted files belong to the version."""
    for path, item in listed.items():
        at = files.paths.find(path)
        if at is None:
            parse_path(path)  # a refused one will never be there
            raise _IncompleteVersion(f"{what}: {name_shown(path)} is in {marks.list_name} but does not exist")
        size_bytes = files[at].size_bytes
        if item.size_bytes is not None and size_bytes != item.size_bytes:
            raise _IncompleteVersion(
                f"{what}: {name_shown(path)} has {size_bytes} bytes, {marks.list_name} has {item.size_bytes}"
            )
    beside = None if marks.has_marker else next((path for path in files.paths if path not in listed), None)
    if beside is not None:
        raise _IncompleteVersion(
            f"{what}: {name_shown(beside)} exists but is not in {marks.list_name}", hint="list it, or add READY"
        )
