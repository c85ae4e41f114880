"""Base classes of the registries that are read over a network: a name becomes a pin, and only the pin is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName, VersionName, parse_model
from syncd.errors import Invalid, NotFound, Refused
from syncd.http.download import EmptyStream
from syncd.registry.listing_cache import (
    LATEST,
    Files,
    ListingCache,
    Remote,
    check_selected,
    file_at,
    selected_files,
    version_name,
)
from syncd.registry.refusal_log import RefusalLog
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.values.patterns import selects
from syncd.values.source import Candidate, Location, Revision, SourceFile, Stream


class PinnedRegistry(ABC):
    """See `registry.base.Registry`. Subclasses implement discovery, the resolution of refs, and the files of a pin."""

    def __init__(self, models: Sequence[str]) -> None:
        """`models` are names and patterns; models they do not select do not exist here."""
        self._patterns = models
        self._snapshots = ListingCache()
        self._refusals = RefusalLog()

    @abstractmethod
    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        """See `rules.filtered.Source`."""

    def resolve(self, model: ModelName, ref: str, taking: FileFilter = EVERYTHING) -> Revision:
        """See `rules.filtered.Source`. `latest` is the newest version; `_resolve` defines the other refs."""
        parse_model(model)
        check_selected(self._patterns, model)
        revision = self._resolve(model, None if ref == LATEST else version_name(ref))
        kept = self._snapshots.kept(model, revision)
        if kept is not None:
            self._selected_files(model, revision.version, kept, taking)
        return revision

    def listing(self, model: ModelName, revision: Revision, taking: FileFilter = EVERYTHING) -> Sequence[SourceFile]:
        """See `rules.filtered.Source`; ordered by path.

        Raises:
            NotFound: The pinned version no longer exists.
        """
        self._snapshots.drop_large(model, revision)
        files = self._snapshots.keep(model, revision, self._fetch_files(model, revision))
        return self._selected_files(model, revision.version, files, taking)

    def location_of(self, model: ModelName, revision: Revision, path: FilePath) -> Location | None:
        """See `registry.base.Registry`. None: a store cannot copy from here."""
        del model, revision, path
        return None

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
            Conflict: The file differs from the pinned one.
            Invalid: The offset is outside of the file.
        """
        found = self._find(model, revision, path)
        size_bytes = found.file.size_bytes
        if not 0 <= offset_bytes <= size_bytes:
            raise Invalid(f"{path}: offset {offset_bytes} is not within its {size_bytes} bytes")
        if offset_bytes and offset_bytes == size_bytes:
            return EmptyStream()
        if sha256 is not None:
            found = replace(found, file=replace(found.file, sha256=sha256))
        return self._open(model, revision, found, offset_bytes, until_bytes)

    @abstractmethod
    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """Pin the version that `ref` names now, or the newest one. Raises what `resolve` raises."""

    @abstractmethod
    def _fetch_files(self, model: ModelName, revision: Revision) -> Files:
        """The files of a pin. Raises what `listing` raises."""

    @abstractmethod
    def _open(
        self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int, until_bytes: int | None
    ) -> Stream:
        """The bytes of a file from an offset within it. Raises what `open` raises."""

    def _selected_files(
        self, model: ModelName, version: VersionName, files: Files, taking: FileFilter
    ) -> Sequence[SourceFile]:
        """The selected files of a version. Raises Invalid: As `selected_files`."""
        return selected_files((each.file for each in files.values()), f"{model}@{version}", taking)

    def _find(self, model: ModelName, revision: Revision, path: FilePath) -> Remote:
        """A file of a pin. Raises NotFound, and what `listing` raises."""
        files = self._snapshots.find(model, revision, lambda: self._fetch_files(model, revision))
        return file_at(files, f"{model}@{revision.version}", path)

    def _keep(self, model: ModelName, pinned: tuple[Revision, Files]) -> Revision:
        """Cache the files that were read while pinning: they are read next."""
        self._snapshots.keep(model, *pinned)
        return pinned[0]


class ListedRegistry(PinnedRegistry):
    """A registry that lists its models first, and then the versions of each."""

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        """See `rules.filtered.Source`. A model that is gone or not accessible hides no other."""
        del taking  # files are first read when a version is resolved
        found: list[Candidate] = []
        for each in self._models() if model is None else self._selected([model]):
            try:
                found += self._candidates(each)
            except (NotFound, Refused, Invalid) as error:
                self._refusals.warn(each, error, error.hint)
        return tuple(found)

    def _candidates(self, model: ModelName) -> Iterable[Candidate]:
        """A model's complete versions as candidates, oldest first."""
        return [Candidate(model, version) for version in self._versions(model)]

    def _selected(self, names: Iterable[str]) -> Iterator[ModelName]:
        """The names that the configuration selects; a bad one is left out and logged."""
        for name in names:
            try:
                if any(selects(pattern, name) for pattern in self._patterns):
                    yield parse_model(name)
            except Invalid as error:
                self._refusals.warn(name, error, error.hint)

    @abstractmethod
    def _models(self) -> Iterable[ModelName]:
        """The models that the configuration selects, without duplicates. Raises what `discover` raises."""

    @abstractmethod
    def _versions(self, model: ModelName) -> Iterable[VersionName]:
        """A model's complete versions, oldest first; a bad one is left out and logged."""


class OwnedRegistry(ListedRegistry):
    """A registry with too many models to list: they are named, or listed by owner."""

    def _models(self) -> Iterator[ModelName]:
        """The named models, and those of the named owners."""
        seen = set()
        for pattern in self._patterns:
            for name in self._of_owner(pattern.partition("/")[0]) if "*" in pattern else [pattern]:
                if name in seen or not selects(pattern, name):
                    continue
                seen.add(name)
                try:
                    yield parse_model(name)
                except Invalid as error:
                    self._refusals.warn(name, error, error.hint)

    @abstractmethod
    def _of_owner(self, owner: str) -> Iterator[str]:
        """The names of an owner's models. Raises what `discover` raises."""
