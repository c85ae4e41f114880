"""Advice for one region: all rules together, and the kind of storage that they speak for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from syncd.advice.facts import ServingFacts, StorageKind
from syncd.advice.rules import RULES, Rule, RuleResult


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that had something to say."""

    rule: Rule
    finding: RuleResult


@dataclass(frozen=True, slots=True)
class Advice:
    """The kind of storage to use in a region, with every reason, and the sum of the weights of each kind."""

    facts: ServingFacts
    choice: StorageKind
    reasons: tuple[Reason, ...]
    weights: Mapping[StorageKind, int]
    excluded: frozenset[StorageKind]


def advise(facts: ServingFacts) -> Advice:
    """Ask every rule. OSS is left where everything else is excluded: its capacity has no limit."""
    reasons = tuple(Reason(rule, found) for rule in RULES if (found := rule.check(facts)) is not None)
    excluded = frozenset(kind for reason in reasons for kind in reason.finding.excludes)
    weights = {kind: sum(reason.finding.weights.get(kind, 0) for reason in reasons) for kind in StorageKind}
    order = list(StorageKind)
    left = [kind for kind in order if kind not in excluded] or [StorageKind.OSS]
    choice = max(left, key=lambda kind: (weights[kind], -order.index(kind)))
    return Advice(facts, choice, reasons, weights, excluded)
