"""A registry of which some is wanted: some files of each version, and of each model one version by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Invalid, NotFound, Refused
from syncd.registry.base import Registry
from syncd.registry.refusal_log import RefusalLog
from syncd.registry.rules.file_filters import FileFilter, with_filter_mark, without_filter_mark
from syncd.registry.rules.follow_rules import FollowRule
from syncd.values.source import Candidate, Follow, Location, Revision, SourceFile, Stream


class FilteredRegistry:
    """See `registry.base.Registry`, of which this is one around another. Safe from several threads."""

    def __init__(self, registry: Registry, follow: Sequence[FollowRule] = (), taking: FileFilter | None = None) -> None:
        """Of `follow` the first rule that is for a model counts; without one its newest version is followed."""
        self._registry = registry
        self._follow = follow
        self._taking = taking or FileFilter()
        self._refusals = RefusalLog()

    def discover(self, model: ModelName | None = None) -> Sequence[Candidate]:
        """See `registry.base.Registry`. All versions are shown: what is not followed may have been published."""
        found: list[Candidate] = []
        for each, group in groupby(self._registry.discover(model), key=lambda candidate: candidate.model):
            found += self._followed(each, list(group))
        return tuple(found)

    def resolve(self, model: ModelName, ref: str) -> Revision:
        """See `registry.base.Registry`. The pin says which files are taken."""
        return with_filter_mark(self._registry.resolve(model, ref), self._taking)

    def listing(self, model: ModelName, revision: Revision) -> Sequence[SourceFile]:
        """See `registry.base.Registry`: the files that were taken when it was pinned.

        Raises:
            Invalid: None of its files is.
        """
        own, taking = without_filter_mark(revision)
        everything = self._registry.listing(model, own)
        taken = tuple(file for file in everything if taking.takes(file.path))
        if not taken:
            hint = "look at `take` and `leave` of the registry"
            raise Invalid(f"{model}@{revision.version}: none of its {len(everything)} files is taken", hint=hint)
        return taken

    def open(
        self,
        model: ModelName,
        revision: Revision,
        path: FilePath,
        offset_bytes: int = 0,
        *,
        sha256: Digest | None = None,
    ) -> Stream:
        """See `registry.base.Registry`. A file that is not taken is not there."""
        return self._registry.open(model, _taken(model, revision, path), path, offset_bytes, sha256=sha256)

    def lies_in(self, model: ModelName, revision: Revision, path: FilePath) -> Location | None:
        """See `registry.base.Registry`. A file that is not taken is not there."""
        return self._registry.lies_in(model, _taken(model, revision, path), path)

    def _followed(self, model: ModelName, candidates: list[Candidate]) -> Iterator[Candidate]:
        rule = next((rule for rule in self._follow if rule.is_for(model)), None)
        if rule is None:
            yield from candidates
            return
        marked = rule.apply(candidates, lambda ref: self._find(model, ref))
        if rule.alias and marked[-1].follow is Follow.NOT and not rule.passes_over(candidates):
            named = NotFound(f"{rule.alias} names no version with a name of its own: none is followed")
            self._refusals.tell(f"{model}@{rule.alias}", named, "let it name one, or change `follow`")
        yield from marked

    def _find(self, model: ModelName, ref: str) -> Revision | None:
        """What a ref names, if it names what could be followed. What cannot be looked at now stays an error."""
        try:
            return self._registry.resolve(model, ref)
        except (NotFound, Refused, Invalid):
            return None


def _taken(model: ModelName, revision: Revision, path: FilePath) -> Revision:
    own, taking = without_filter_mark(revision)
    if not taking.takes(path):
        raise NotFound(f"{model}@{revision.version} has no file {path!r} that is taken")
    return own
