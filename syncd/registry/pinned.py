"""What the registries that are asked over a network do alike: a name becomes a pin, and only the pin is read."""

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
    source_files,
    version_name,
)
from syncd.registry.refusal_log import RefusalLog
from syncd.values.patterns import selects
from syncd.values.source import Candidate, Location, Revision, SourceFile, Stream


class PinnedRegistry(ABC):
    """See `registry.base.Registry`. An implementation says what is there, what a ref names, and what a pin has."""

    def __init__(self, models: Sequence[str]) -> None:
        """`models` are names and patterns; what they do not select is not there."""
        self._patterns = models
        self._snapshots = ListingCache()
        self._refusals = RefusalLog()

    @abstractmethod
    def discover(self, model: ModelName | None = None) -> Sequence[Candidate]:
        """See `registry.base.Registry`."""

    def resolve(self, model: ModelName, ref: str) -> Revision:
        """See `registry.base.Registry`. `latest` is the newest version; what else a ref may be, see `_resolve`."""
        parse_model(model)
        check_selected(self._patterns, model)
        return self._resolve(model, None if ref == LATEST else version_name(ref))

    def listing(self, model: ModelName, revision: Revision) -> Sequence[SourceFile]:
        """See `registry.base.Registry`; in the order of the paths.

        Raises:
            NotFound: What was pinned is not there any more.
        """
        return source_files(self._snapshots.keep(model, revision, self._look(model, revision)))

    def lies_in(self, model: ModelName, revision: Revision, path: FilePath) -> Location | None:
        """See `registry.base.Registry`. Nowhere that a store could copy from."""
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
    ) -> Stream:
        """See `registry.base.Registry`.

        Raises:
            Conflict: The file is not the one that was pinned.
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
        return self._open(model, revision, found, offset_bytes)

    @abstractmethod
    def _resolve(self, model: ModelName, ref: VersionName | None) -> Revision:
        """Pin what `ref` names now, or the newest version. Raises what `resolve` does."""

    @abstractmethod
    def _look(self, model: ModelName, revision: Revision) -> Files:
        """The files of a pin. Raises what `listing` does."""

    @abstractmethod
    def _open(self, model: ModelName, revision: Revision, found: Remote, offset_bytes: int) -> Stream:
        """The bytes of a file from an offset within it. Raises what `open` does."""

    def _find(self, model: ModelName, revision: Revision, path: FilePath) -> Remote:
        """A file of a pin. Raises NotFound, and what `listing` does."""
        files = self._snapshots.find(model, revision, lambda: self._look(model, revision))
        return file_at(files, f"{model}@{revision.version}", path)

    def _keep(self, model: ModelName, pinned: tuple[Revision, Files]) -> Revision:
        """Remember what was seen while a version was pinned: it will be read next."""
        self._snapshots.keep(model, *pinned)
        return pinned[0]


class ListedRegistry(PinnedRegistry):
    """One that is asked for its models first, and then for the versions of each."""

    def discover(self, model: ModelName | None = None) -> Sequence[Candidate]:
        """See `registry.base.Registry`. A model that is gone, or that we may not see, hides no other."""
        found: list[Candidate] = []
        for each in self._models() if model is None else self._selected([model]):
            try:
                found += self._candidates(each)
            except (NotFound, Refused, Invalid) as error:
                self._refusals.tell(each, error, error.hint)
        return tuple(found)

    def _candidates(self, model: ModelName) -> Iterable[Candidate]:
        """A model's complete versions as candidates, oldest first."""
        return [Candidate(model, version) for version in self._versions(model)]

    def _selected(self, names: Iterable[str]) -> Iterator[ModelName]:
        """Those of the names that the configuration selects; a bad one is left out and logged."""
        for name in names:
            try:
                if any(selects(pattern, name) for pattern in self._patterns):
                    yield parse_model(name)
            except Invalid as error:
                self._refusals.tell(name, error, error.hint)

    @abstractmethod
    def _models(self) -> Iterable[ModelName]:
        """Those that the configuration selects, each once. Raises what `discover` does."""

    @abstractmethod
    def _versions(self, model: ModelName) -> Iterable[VersionName]:
        """A model's complete versions, oldest first; a bad one is left out and logged."""


class OwnedRegistry(ListedRegistry):
    """One with more models than can be listed: they are named, or asked for by their owner."""

    def _models(self) -> Iterator[ModelName]:
        """Those named, and those of the owners whose names are given."""
        seen = set()
        for pattern in self._patterns:
            for name in self._of_owner(pattern.partition("/")[0]) if "*" in pattern else [pattern]:
                if name in seen or not selects(pattern, name):
                    continue
                seen.add(name)
                try:
                    yield parse_model(name)
                except Invalid as error:
                    self._refusals.tell(name, error, error.hint)

    @abstractmethod
    def _of_owner(self, owner: str) -> Iterator[str]:
        """What the registry says that an owner's models are called. Raises what `discover` does."""
