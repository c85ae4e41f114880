"""Registry source for a prefix of a bucket: `<prefix><model>/<version>/`, complete when its marker or list is.

Markers and lists are those of a directory (`registry/sources/directory.py`), written last. A bucket has no rename and
no settling time: a marker without a list means that all files are there.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from syncd.artifact.names import FilePath, ModelName, VersionName, parse_model, parse_path
from syncd.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from syncd.registry.bucket_objects import (
    IncompleteVersion,
    ObjectSource,
    SeenObject,
    checksum_of,
    is_leftover,
    key_of,
    open_pinned,
    prefix_objects,
    remote_of,
    version_objects,
    with_hint,
)
from syncd.registry.checksum_files import ListedFile, parse_manifest, parse_sums
from syncd.registry.listing_cache import (
    Files,
    Remote,
    check_unchanged,
    files_of,
    name_shown,
    natural_order,
    tree_digest,
    version_name,
)
from syncd.registry.pinned import PinnedRegistry
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.settings import PrefixSettings
from syncd.registry.sources.directory import LISTS, MARKERS
from syncd.values.patterns import selects
from syncd.values.source import Candidate, Location, Revision, Stream

LIST_BYTES_MAX: Final = 18 << 20
_MARKS: Final = frozenset({*LISTS, *MARKERS})


@dataclass(frozen=True, slots=True)
class _Version:
    """The objects below a version's prefix, by path."""

    objects: Mapping[str, SeenObject]

    @property
    def marks(self) -> Mapping[str, SeenObject]:
        return {name: self.objects[name] for name in (*LISTS, *MARKERS) if name in self.objects}

    @property
    def list_name(self) -> str | None:
        return next((name for name in LISTS if name in self.marks), None)

    @property
    def has_marker(self) -> bool:
        return any(name in self.marks for name in MARKERS)

    @property
    def made_at(self) -> datetime:
        return max(seen.modified_at for seen in self.marks.values())

    @property
    def signature(self) -> tuple[tuple[str, int, datetime], ...]:
        """A value that changes when a marker is written again."""
        return tuple((name, seen.size_bytes, seen.modified_at) for name, seen in self.marks.items())

    def files(self, listed: Mapping[str, ListedFile]) -> Mapping[str, SeenObject]:
        """The distributed files, without markers, directory markers, and leftovers unless a list has them."""
        return {
            path: seen
            for path, seen in self.objects.items()
            if path and path not in _MARKS and not path.endswith("/") and (path in listed or not is_leftover(path))
        }


class PrefixRegistry(PinnedRegistry):
    """Versions in a bucket. Only reads; safe from several threads."""

    def __init__(self, settings: PrefixSettings, objects: ObjectSource) -> None:
        """`objects` starts at the registry's prefix: its keys are `<model>/<version>/<path>`."""
        super().__init__(settings.models)
        self._settings = settings
        self._objects = objects
        self._lock = threading.Lock()
        self._complete: dict[tuple[str, str], tuple[tuple[str, int, datetime], ...]] = {}

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        """See `rules.filtered.Source`. Lists the prefix: one request per thousand objects."""
        del taking  # names are checked when a version is resolved
        found = []
        for (owner, version), there in self._everything("" if model is None else f"{model}/").items():
            if model not in {None, owner}:
                continue
            try:
                self._check_complete(owner, version, there)
            except IncompleteVersion:
                continue
            except (Invalid, Refused, NotFound) as error:
                self._refusals.warn(f"{owner}@{version}", error, error.hint)
                continue
            found.append((owner, there.made_at, natural_order(version), version))
        return tuple(Candidate(owner, version) for owner, _, _, version in sorted(found))

    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """A ref is a version's name; the newest is the complete one marked last."""
        return self._keep(model, self._pinned(model, self._latest(model) if ref is None else ref))

    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """The object's size and checksum must be the pinned ones."""
        del model, revision
        return open_pinned(self._objects, found, offset_bytes, until_bytes)

    def location_of(self, model: ModelName, revision: Revision, path: FilePath) -> Location:
        """See `registry.base.Registry`."""
        key = key_of(self._find(model, revision, path))
        return Location(self._settings.region, self._settings.bucket, f"{self._settings.prefix}{key}")

    def _latest(self, model: ModelName) -> VersionName:
        aged = []
        everything = self._everything(f"{model}/")
        for (owner, version), there in everything.items():
            try:
                if owner == model:
                    self._check_complete(model, version, there)
                    aged.append((there.made_at, natural_order(version), version))
            except (IncompleteVersion, Invalid, NotFound):
                continue
        if not aged:
            raise Unavailable(f"{model} has no complete version; {len(everything)} have a marker")
        return max(aged)[2]

    def _everything(self, prefix: str) -> Mapping[tuple[ModelName, VersionName], _Version]:
        """Every version with a marker and an allowed name."""
        objects: dict[str, SeenObject] = {}
        with with_hint():
            for seen in prefix_objects(self._objects, prefix):
                objects[seen.key] = seen
        tops = {top for top, _, name in (key.rpartition("/") for key in objects) if name in _MARKS}
        tops = {
            top for top in tops if top.count("/") == 1 or (top.count("/") == 2 and top.rpartition("/")[0] not in tops)
        }
        grouped: defaultdict[str, dict[str, SeenObject]] = defaultdict(dict)
        for key, seen in objects.items():
            second, third = "/".join(key.split("/", 2)[:2]), "/".join(key.split("/", 3)[:3])
            top = second if second in tops else third
            if top in tops:
                grouped[top][key[len(top) + 1 :]] = seen
        found = {}
        for top, below in grouped.items():
            name, _, version = top.rpartition("/")
            try:
                model = parse_model(name)
                if any(selects(pattern, model) for pattern in self._settings.models):
                    found[model, version_name(version)] = _Version(below)
            except Invalid as error:
                self._refusals.warn(top, error, error.hint)
        return found

    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        try:
            now, files = self._pinned(model, revision.version)
        except IncompleteVersion as error:
            raise Conflict(f"{model}@{revision.version} is no longer complete: {error}") from error
        check_unchanged(model, revision, now)
        return files

    def _pinned(self, model: ModelName, version: VersionName) -> tuple[Revision, Files]:
        what, top = f"{model}@{version}", f"{model}/{version}/"
        with with_hint():
            below = version_objects(self._objects, top, what)
            there = _Version({seen.key[len(top) :]: seen for seen in below})
            if not there.objects:
                raise NotFound(f"no objects are below {top} in {self._settings.bucket}")
            found, listed = self._complete_files(model, version, there)
            if not found:
                raise IncompleteVersion(f"{what} has no files yet")
            files = files_of((self._file(path, seen, listed) for path, seen in found.items()), what)
        return Revision(version, tree_digest(files, checksum_of)), files

    def _file(self, path: str, seen: SeenObject, listed: Mapping[str, ListedFile]) -> Remote:
        return remote_of(self._objects, path, seen, listed[path].sha256 if path in listed else None)

    def _check_complete(self, model: ModelName, version: VersionName, there: _Version) -> None:
        """As `_complete_files`, but a complete version is not checked again until a marker changes."""
        with self._lock:
            if self._complete.get((model, version)) == there.signature:
                return
        with with_hint():
            self._complete_files(model, version, there)
        with self._lock:
            self._complete[model, version] = there.signature

    def _complete_files(
        self, model: ModelName, version: VersionName, there: _Version
    ) -> tuple[Mapping[str, SeenObject], Mapping[str, ListedFile]]:
        """The files and the list. Raises IncompleteVersion if they differ."""
        what, name = f"{model}@{version}", there.list_name
        if not there.marks:
            raise IncompleteVersion(
                f"{what} has no marker yet", hint=f"write one of {', '.join((*MARKERS, *LISTS))} last"
            )
        if name is None:
            return there.files({}), {}
        listed = self._listed(model, version, name, there.marks[name])
        files = there.files(listed)
        for path, item in listed.items():
            if path not in files:
                parse_path(path)  # a refused one will never be there
                raise IncompleteVersion(f"{what}: {name_shown(path)} is in {name} but does not exist")
            if item.size_bytes not in {None, files[path].size_bytes}:
                raise IncompleteVersion(
                    f"{what}: {name_shown(path)} has {files[path].size_bytes} bytes, {name} has {item.size_bytes}"
                )
        beside = [] if there.has_marker else sorted(files.keys() - listed.keys())
        if beside:
            raise IncompleteVersion(
                f"{what}: {name_shown(beside[0])} exists but is not in {name}", hint="list it, or add READY"
            )
        return files, listed

    def _listed(self, model: ModelName, version: VersionName, name: str, seen: SeenObject) -> Mapping[str, ListedFile]:
        if seen.size_bytes > LIST_BYTES_MAX:
            raise Invalid(f"{seen.key} has {seen.size_bytes} bytes, at most {LIST_BYTES_MAX} are read")
        data = self._read(seen)
        try:
            listed = parse_sums(data) if name == "SHA256SUMS" else parse_manifest(data, model, version)
        except Unavailable as error:
            raise IncompleteVersion(f"{model}@{version}: {error}", hint=error.hint) from error
        return {item.path: item for item in listed if item.path not in _MARKS}

    def _read(self, seen: SeenObject) -> bytes:
        data, buffer = bytearray(), memoryview(bytearray(min(seen.size_bytes + 1, 1 << 20)))
        with self._objects.open(seen.key) as stream:
            while count := stream.readinto(buffer):
                data += buffer[:count]
                if len(data) > seen.size_bytes:
                    raise IncompleteVersion(f"{seen.key} has more than the {seen.size_bytes} listed bytes")
        return bytes(data)
