"""Which version of a model is followed: what a poll releases by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from syncd.artifact.names import ModelName
from syncd.registry.base import Candidate, Follow, Revision
from syncd.registry.selection import selects
from syncd.registry.semver import Range, semver

Resolve = Callable[[str], Revision | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """For some models at most one of: an alias, a pattern of names, a range. None of them: the newest."""

    models: tuple[str, ...]
    alias: str = ""
    tags: str = ""
    range: Range | None = None

    def is_for(self, model: ModelName) -> bool:
        """Whether the rule is the model's."""
        return any(selects(pattern, model) for pattern in self.models)

    def apply(self, candidates: Sequence[Candidate], resolve: Resolve) -> list[Candidate]:
        """The candidates of one model, marked. `resolve` pins a ref of the model; None where it names nothing."""
        if self.alias:
            return self._aliased(candidates, resolve)
        if self.tags:
            return [_marked(each, follows=selects(self.tags, each.version)) for each in candidates]
        if self.range:
            return _ranged(candidates, self.range)
        return list(candidates)

    def _aliased(self, candidates: Sequence[Candidate], resolve: Resolve) -> list[Candidate]:
        """What the alias names is last. A tag that is moved about is no version: the other tag of its bytes is."""
        shown = [replace(each, follow=Follow.NOT) for each in candidates]
        named = resolve(self.alias)
        if named is None or not candidates:
            return shown
        version = named.version
        if version == self.alias:
            others = (each.version for each in reversed(candidates) if each.version != self.alias)
            same = next((name for name in others if _pin(resolve(name)) == named.pin), None)
            if same is None:
                return shown
            version = same
        return [
            *(each for each in shown if each.version != version),
            Candidate(candidates[0].model, version, Follow.WHEN_NAMED),
        ]


def _pin(revision: Revision | None) -> str:
    return revision.pin if revision else ""


def _marked(candidate: Candidate, *, follows: bool) -> Candidate:
    return candidate if follows else replace(candidate, follow=Follow.NOT)


def _ranged(candidates: Sequence[Candidate], wanted: Range) -> list[Candidate]:
    """Those of the range are last, the highest at the end, whenever it came."""
    inside, outside = [], []
    for each in candidates:
        number = semver(each.version)
        if number is not None and wanted.has(number):
            inside.append((number, each))
        else:
            outside.append(replace(each, follow=Follow.NOT))
    return outside + [each for _, each in sorted(inside, key=lambda pair: pair[0])]
