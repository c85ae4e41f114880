"""Which version of a model is followed: what a poll releases by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from syncd.artifact.names import ModelName
from syncd.errors import Invalid
from syncd.registry.rules.semver import Range, semver
from syncd.values.patterns import selects
from syncd.values.source import Candidate, Follow, Revision, Tags

Resolve = Callable[[str], Revision | None]


@dataclass(frozen=True, slots=True)
class TagRule:
    """What is wanted to be written on a version or a model. In `value`, `*` stands for any characters."""

    key: str
    value: str

    def is_on(self, tags: Tags) -> bool:
        """Whether one of the tags is it."""
        return any(key == self.key and _matches(self.value, value) for key, value in tags)


@dataclass(frozen=True, slots=True)
class FollowRule:
    """For some models at most one of: an alias, a pattern of names, a range, a tag. None of them: the newest.

    With `model_tagged` nothing is followed of a model that has no such tag.
    """

    models: tuple[str, ...]
    alias: str = ""
    tags: str = ""
    range: Range | None = None
    tagged: TagRule | None = None
    model_tagged: TagRule | None = None

    def is_for(self, model: ModelName) -> bool:
        """Whether the rule is the model's."""
        return any(selects(pattern, model) for pattern in self.models)

    def passes_over(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the model of these has not the tag that is wanted of it."""
        return self.model_tagged is not None and not any(
            self.model_tagged.is_on(each.model_tags) for each in candidates
        )

    def apply(self, candidates: Sequence[Candidate], resolve: Resolve) -> list[Candidate]:
        """The candidates of one model, marked. `resolve` pins a ref of the model; None where it names nothing."""
        if self.passes_over(candidates):
            return [replace(each, follow=Follow.NOT) for each in candidates]
        if self.alias:
            return self._aliased(candidates, resolve)
        if self.tags:
            return [_marked(each, follows=selects(self.tags, each.version)) for each in candidates]
        if self.range:
            return _ranged(candidates, self.range)
        if self.tagged:
            return [_marked(each, follows=self.tagged.is_on(each.tags)) for each in candidates]
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


def parse_tagged(text: str) -> TagRule:
    """Read a tag such as `validation_status=approved`.

    Raises:
        Invalid: It is something else.
    """
    key, equals, value = text.partition("=")
    if not key or not equals or not text.isprintable():
        raise Invalid(f"{text[:80]!r} is no tag", hint='one such as "validation_status=approved" is')
    return TagRule(key, value)


def _matches(pattern: str, value: str) -> bool:
    """Time grows with the length of `value` and no faster, whatever stands in it: others wrote it."""
    first, *rest = pattern.split("*")
    if not rest:
        return value == pattern
    *between, last = rest
    if not value.startswith(first):
        return False
    at = len(first)
    for part in between:
        found = value.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return value.endswith(last) and len(value) - len(last) >= at


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
