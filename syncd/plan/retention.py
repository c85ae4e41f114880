"""Retention: which stored versions of a model are needed and why, and which may be removed.

Pure: the clock is an argument. What is needed is never removed, whatever the rule; it only chooses among the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from syncd.values.patterns import selects


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """The rule for some models. Versions outside of it stay if they are needed."""

    models: tuple[str, ...]
    keep: int  # the newest versions, always
    min_age_s: float = 0.0  # since its last use
    max_bytes: int = 0  # of the model at each target: beyond `keep`, only the oldest above it go; 0: all of them go
    keep_versions: tuple[str, ...] = ()  # patterns of names, and of refs that a version was released by


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The configured rules. Without one for its model, nothing of a model is removed."""

    rules: tuple[RetentionRule, ...] = ()
    grace_s: float = 7 * 86400.0  # between the mark and the deletion

    def rule_of(self, model: str) -> RetentionRule | None:
        """The first rule that selects the model."""
        return next((rule for rule in self.rules if any(selects(each, model) for each in rule.models)), None)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version with bytes at some target. `used_at`: when it was recorded, or its last release ended."""

    id: str
    name: str
    refs: frozenset[str]
    used_at: datetime
    bytes_at: Mapping[str, int]  # target -> bytes


@dataclass(frozen=True, slots=True)
class RetentionFacts:
    """What may need versions of one model. Each mapping leads from a name to ids of versions."""

    served: Mapping[str, frozenset[str]] = field(default_factory=dict)  # bindings, by the record
    reached: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by the cloud: aliases with their shares
    releases: Mapping[str, frozenset[str]] = field(default_factory=dict)  # unfinished ones: also what they may undo to
    rollback: Mapping[str, frozenset[str]] = field(default_factory=dict)  # the release that a rollback returns to
    repairs: frozenset[str] = frozenset()  # under way
    quarantined: frozenset[str] = frozenset()
    spared: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by person: their removal was undone
    leases: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of readers outside
    blocked: tuple[str, ...] = ()  # why nothing of the model is removed: a hold, a freeze, a region without an answer

    def reasons(self, version_id: str) -> tuple[str, ...]:
        """Why a version is needed, in words; empty where nothing needs it."""
        return (*self.blocked, *self._reasons(version_id))

    def _reasons(self, version_id: str) -> Iterator[str]:
        told = (
            (self.served, "binding {} serves it"),
            (self.reached, "{} leads to it"),
            (self.releases, "{} is under way with it"),
            (self.rollback, "a rollback returns to it ({})"),
            (self.spared, "{} undid its removal"),
            (self.leases, "{} has a lease on it"),
        )
        for names, words in told:
            yield from (words.format(name) for name in sorted(names) if version_id in names[name])
        if version_id in self.repairs:
            yield "it is being repaired"
        if version_id in self.quarantined:
            yield "its registry shows other bytes, so no other copy may exist"


@dataclass(frozen=True, slots=True)
class RetentionDecision:
    """What becomes of a version, and why."""

    version_id: str
    is_removable: bool
    reasons: tuple[str, ...]


def decide(
    rule: RetentionRule | None, stored: Sequence[StoredVersion], facts: RetentionFacts, now: datetime
) -> list[RetentionDecision]:
    """Decide on every stored version of a model, in the given order: the oldest first."""
    if rule is None:
        unruled = "no retention rule selects the model"
        return [RetentionDecision(each.id, False, (*facts.reasons(each.id), unruled)) for each in stored]
    kept = {each.id: (*facts.reasons(each.id), *_within(rule, index, stored, now)) for index, each in enumerate(stored)}
    free = [each for each in stored if not kept[each.id]]
    chosen = free if not rule.max_bytes else _above(rule.max_bytes, stored, free)
    going = {each.id for each in chosen}
    return [
        RetentionDecision(
            each.id,
            each.id in going,
            kept[each.id] or ((_expired(rule, each),) if each.id in going else (_fits(rule),)),
        )
        for each in stored
    ]


def _within(rule: RetentionRule, index: int, stored: Sequence[StoredVersion], now: datetime) -> Iterator[str]:
    """Why the rule keeps a version."""
    version = stored[index]
    if index >= len(stored) - rule.keep:
        yield "it is the newest" if rule.keep == 1 else f"it is among the {rule.keep} newest"
    if now < version.used_at + timedelta(seconds=rule.min_age_s):
        yield f"it was used on {version.used_at:%Y-%m-%d}, less than {span(rule.min_age_s)} ago"
    for pattern in rule.keep_versions:
        if any(selects(pattern, name) for name in (version.name, *version.refs)):
            yield f"keep_versions has {pattern!r}"


def _above(limit: int, stored: Sequence[StoredVersion], free: Sequence[StoredVersion]) -> list[StoredVersion]:
    """The oldest of `free` at whose targets the model is above the limit, as long as it is."""
    held: dict[str, int] = {}
    for each in stored:
        for target, size_bytes in each.bytes_at.items():
            held[target] = held.get(target, 0) + size_bytes
    going = []
    for each in free:
        if any(size_bytes and held[target] > limit for target, size_bytes in each.bytes_at.items()):
            going.append(each)
            for target, size_bytes in each.bytes_at.items():
                held[target] -= size_bytes
    return going


def _expired(rule: RetentionRule, version: StoredVersion) -> str:
    beyond = f"{rule.keep} newer versions are kept" if rule.keep > 1 else "a newer version is kept"
    above = f", the model has more than {rule.max_bytes} bytes at a target" if rule.max_bytes else ""
    return f"{beyond}{above}, and it was last used on {version.used_at:%Y-%m-%d}"


def _fits(rule: RetentionRule) -> str:
    return f"the model has at most {rule.max_bytes} bytes at each of its targets"


def span(seconds: float) -> str:
    """`7d`, `12h`, `90s`: the largest unit that divides it."""
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit and seconds % unit == 0:
            return f"{int(seconds // unit)}{letter}"
    return f"{seconds:g}s"
