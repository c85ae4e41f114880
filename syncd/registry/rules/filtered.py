"""Registry wrapper that applies follow rules to versions and a filter to files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Invalid, NotFound, Refused
from syncd.registry.base import AttachedSignature, Registry, SignedRegistry
from syncd.registry.refusal_log import RefusalLog
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter, with_filter_mark, without_filter_mark
from syncd.registry.rules.follow_rules import FollowRule
from syncd.registry.settings import DEFAULT_LIMITS, Limits
from syncd.values.source import Candidate, Follow, Location, Revision, SourceFile, Stream


class Source(Registry, Protocol):
    """A registry that chooses among a version's files before it checks their names: only those of `taking` count."""

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        """See `Registry.discover`."""
        ...

    def resolve(self, model: ModelName, ref: str, taking: FileFilter = EVERYTHING) -> Revision:
        """See `Registry.resolve`. The pin is the same whatever is taken.

        Raises:
            Invalid: Nothing is taken, where it is seen so early; or see `Registry.resolve`.
        """
        ...

    def listing(self, model: ModelName, revision: Revision, taking: FileFilter = EVERYTHING) -> Sequence[SourceFile]:
        """See `Registry.listing`.

        Raises:
            Invalid: Nothing is taken; or see `Registry.listing`.
        """
        ...


class FilteredRegistry:
    """See `registry.base.Registry`; wraps another one. Safe from several threads."""

    def __init__(
        self,
        registry: Source,
        follow: Sequence[FollowRule] = (),
        files: FileFilter | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """The first rule of `follow` for a model applies; without one its newest version is followed."""
        self._registry = registry
        self._follow = follow
        self._files = files or FileFilter()
        self._limits = limits
        self._refusals = RefusalLog()

    def discover(self, model: ModelName | None = None) -> Sequence[Candidate]:
        """See `registry.base.Registry`. All versions are listed: one that is not followed may have been published."""
        found: list[Candidate] = []
        for each, group in groupby(self._registry.discover(model, self._files), key=lambda candidate: candidate.model):
            found += self._followed(each, list(group))
        return tuple(found)

    def resolve(self, model: ModelName, ref: str) -> Revision:
        """See `registry.base.Registry`. The pin has the file filter."""
        return with_filter_mark(self._registry.resolve(model, ref, self._files), self._files)

    def listing(self, model: ModelName, revision: Revision) -> Sequence[SourceFile]:
        """See `registry.base.Registry`: the files that the pin's filter selects.

        Raises:
            Invalid: It selects none, more than the limits allow, or the name of a selected file is refused.
        """
        own, files = without_filter_mark(revision)
        selected = self._registry.listing(model, own, files)
        self._limits.check_count(len(selected), f"{model}@{revision.version}")
        self._limits.check_size(sum(file.size_bytes for file in selected), f"{model}@{revision.version}")
        return selected

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
        """See `registry.base.Registry`. A file that is not selected does not exist."""
        pinned = _selected(model, revision, path)
        return self._registry.open(model, pinned, path, offset_bytes, sha256=sha256, until_bytes=until_bytes)

    def location_of(self, model: ModelName, revision: Revision, path: FilePath) -> Location | None:
        """See `registry.base.Registry`. A file that is not selected does not exist."""
        return self._registry.location_of(model, _selected(model, revision, path), path)

    def attached(self, model: ModelName, revision: Revision) -> Iterator[AttachedSignature]:
        """See `registry.base.SignedRegistry`. A registry without signatures has none."""
        own, _ = without_filter_mark(revision)
        if isinstance(self._registry, SignedRegistry):
            yield from self._registry.attached(model, own)

    def _followed(self, model: ModelName, candidates: list[Candidate]) -> Iterator[Candidate]:
        rule = next((rule for rule in self._follow if rule.is_for(model)), None)
        if rule is None:
            yield from candidates
            return
        marked = rule.apply(candidates, lambda ref: self._resolved(model, ref))
        if rule.alias and marked[-1].follow is Follow.NOT and not rule.excludes(candidates):
            unnamed = NotFound(f"{rule.alias} has no version with a name of its own: none is followed")
            self._refusals.warn(f"{model}@{rule.alias}", unnamed, "point it at a version, or change `follow`")
        yield from marked

    def _resolved(self, model: ModelName, ref: str) -> Revision | None:
        """The revision of a ref; None if it has none that could be followed. Raises Unavailable."""
        try:
            return self._registry.resolve(model, ref, self._files)
        except (NotFound, Refused, Invalid):
            return None


def _selected(model: ModelName, revision: Revision, path: FilePath) -> Revision:
    own, files = without_filter_mark(revision)
    if not files.takes(path):
        raise NotFound(f"{model}@{revision.version} has no selected file {path!r}")
    return own
