"""Follow rules: which version of a model a poll releases automatically."""

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
    """A tag required of a version or a model. In `value`, `*` matches any characters."""

    key: str
    value: str

    def is_on(self, tags: Tags) -> bool:
        """Whether one of the tags matches."""
        return any(key == self.key and _matches(self.value, value) for key, value in tags)


@dataclass(frozen=True, slots=True)
class FollowRule:
    """For some models, at most one of an alias, a name pattern, a range, a tag. With none, the newest is followed.

    With `model_tagged` no version is followed of a model without such a tag.
    """

    models: tuple[str, ...]
    alias: str = ""
    tags: str = ""
    range: Range | None = None
    tagged: TagRule | None = None
    model_tagged: TagRule | None = None

    def is_for(self, model: ModelName) -> bool:
        """Whether the rule applies to the model."""
        return any(selects(pattern, model) for pattern in self.models)

    def excludes(self, candidates: Sequence[Candidate]) -> bool:
        """Whether the model of these candidates lacks the required tag."""
        return self.model_tagged is not None and not any(
            self.model_tagged.is_on(each.model_tags) for each in candidates
        )

    def apply(self, candidates: Sequence[Candidate], resolve: Resolve) -> list[Candidate]:
        """The candidates of one model, marked. `resolve` pins a ref of the model; None if it does not exist."""
        if self.excludes(candidates):
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
        """Put the alias's version last. A tag that moves is not a version: another tag of the same bytes is."""
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
    """Parse a tag such as `validation_status=approved`.

    Raises:
        Invalid: It is not a tag.
    """
    key, equals, value = text.partition("=")
    if not key or not equals or not text.isprintable():
        raise Invalid(f"{text[:80]!r} is not a tag", hint='for example "validation_status=approved"')
    return TagRule(key, value)


def _matches(pattern: str, value: str) -> bool:
    """Match in linear time: `value` is foreign input."""
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
    """Put the versions of the range last, the highest at the end, independent of their age."""
    inside, outside = [], []
    for each in candidates:
        number = semver(each.version)
        if number is not None and wanted.has(number):
            inside.append((number, each))
        else:
            outside.append(replace(each, follow=Follow.NOT))
    return outside + [each for _, each in sorted(inside, key=lambda pair: pair[0])]
