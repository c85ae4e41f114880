"""Retention: nothing needed goes, and what is not needed goes; by an oracle that does not know the rules' code."""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.plan.retention import RetentionFacts, RetentionPolicy, RetentionRule, StoredVersion, decide, span

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY_S = 86400.0
IDS = [f"v{n}" for n in range(8)]
TARGETS = ("hz", "sg")


def stored(name: str, days: float = 100, refs: frozenset[str] = frozenset(), **bytes_at: int) -> StoredVersion:
    return StoredVersion(name, name, refs, NOW - timedelta(days=days), bytes_at or {"hz": 10, "sg": 10})


def removable(rule: RetentionRule | None, versions: list[StoredVersion], facts: RetentionFacts) -> list[str]:
    return [each.version_id for each in decide(rule, versions, facts, NOW) if each.is_removable]


THREE = [stored("v1"), stored("v2"), stored("v3")]


def test_what_is_older_than_the_newest_goes() -> None:
    assert removable(RetentionRule(("*",), 1), THREE, RetentionFacts()) == ["v1", "v2"]
    decisions = decide(RetentionRule(("*",), 1), THREE, RetentionFacts(), NOW)
    assert decisions[0].reasons == ("a newer version is kept, and it was last used on 2026-08-22",)
    assert decisions[2].reasons == ("it is the newest",)


def test_without_a_rule_nothing_goes() -> None:
    assert removable(None, THREE, RetentionFacts()) == []
    assert decide(None, THREE[:1], RetentionFacts(), NOW)[0].reasons == ("no retention rule selects the model",)


ONE = frozenset({"v1"})


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (RetentionFacts(served={"draw-hz": ONE}), "binding draw-hz serves it"),
        (RetentionFacts(reached={"draw:prod in cn-hangzhou": ONE}), "draw:prod in cn-hangzhou leads to it"),
        (RetentionFacts(releases={"r-7": ONE}), "r-7 is under way with it"),
        (RetentionFacts(rollback={"r-6": ONE}), "a rollback returns to it (r-6)"),
        (RetentionFacts(spared={"ann": ONE}), "ann undid its removal"),
        (RetentionFacts(leases={"train-9": ONE}), "train-9 has a lease on it"),
        (RetentionFacts(repairs=ONE), "it is being repaired"),
        (RetentionFacts(quarantined=ONE), "its registry shows other bytes, so no other copy may exist"),
        (RetentionFacts(blocked=("sdxl is on hold by ann: x",)), "sdxl is on hold by ann: x"),
    ],
)
def test_what_is_needed_stays_and_says_why(facts: RetentionFacts, why: str) -> None:
    decision = decide(RetentionRule(("*",), 1), THREE, facts, NOW)[0]
    assert (decision.is_removable, decision.reasons) == (False, (why,))


def test_what_is_young_or_named_stays() -> None:
    rule = RetentionRule(("*",), 1, min_age_s=7 * DAY_S, keep_versions=("*-lts", "stable"))
    versions = [stored("v1-lts"), stored("v2", refs=frozenset({"stable"})), stored("v3", 3), stored("v4"), stored("v5")]
    assert removable(rule, versions, RetentionFacts()) == ["v4"]
    reasons = [each.reasons for each in decide(rule, versions, RetentionFacts(), NOW)]
    assert reasons[:3] == [
        ("keep_versions has '*-lts'",),
        ("keep_versions has 'stable'",),
        ("it was used on 2026-11-27, less than 7d ago",),
    ]


def test_with_a_size_only_the_oldest_above_it_go() -> None:
    rule = RetentionRule(("*",), 2, max_bytes=35)
    versions = [stored(f"v{n}") for n in range(1, 7)]
    assert removable(rule, versions, RetentionFacts()) == ["v1", "v2", "v3"]
    reasons = [each.reasons[0] for each in decide(rule, versions, RetentionFacts(), NOW)]
    assert reasons[0] == (
        "2 newer versions are kept, the model has more than 35 bytes at a target, and it was last used on 2026-08-22"
    )
    assert reasons[3:5] == ["the model has at most 35 bytes at each of its targets", "it is among the 2 newest"]


def test_a_version_that_is_not_where_it_is_too_full_stays() -> None:
    rule = RetentionRule(("*",), 1, max_bytes=15)
    versions = [stored("v1", sg=5), stored("v2", hz=10), stored("v3", hz=10)]
    assert removable(rule, versions, RetentionFacts()) == ["v2"]


def test_the_first_rule_that_selects_a_model_counts() -> None:
    first, second = RetentionRule(("team/*", "sdxl"), 5), RetentionRule(("*",), 1)
    policy = RetentionPolicy((first, second))
    assert [policy.rule_of(model) for model in ("team/x", "sdxl", "lora", "a/b")] == [first, first, second, None]


def test_times_are_shown_in_their_largest_unit() -> None:
    assert [span(seconds) for seconds in (7 * DAY_S, 3600.0, 120.0, 90.0)] == ["7d", "1h", "2m", "90s"]


ids = st.frozensets(st.sampled_from(IDS), max_size=3)
names = st.dictionaries(st.sampled_from(["a", "b"]), ids, max_size=2)
sizes = st.dictionaries(st.sampled_from(TARGETS), st.integers(0, 20), min_size=1)
rules = st.builds(
    RetentionRule,
    st.just(("*",)),
    st.integers(1, 4),
    st.sampled_from([0.0, 3 * DAY_S]),
    st.sampled_from([0, 15, 40]),
    st.sampled_from([(), ("v1",), ("s*",)]),
)
known = st.lists(
    st.tuples(st.integers(0, 6), st.frozensets(st.sampled_from(["stable", "main"]), max_size=1), sizes), max_size=8
)
needs = st.builds(
    RetentionFacts, names, names, names, names, ids, ids, names, names, st.sampled_from([(), (), ("frozen",)])
)


@given(rules, known, needs)
def test_nothing_needed_goes_and_everything_else_does(
    rule: RetentionRule, drawn: list[tuple[int, frozenset[str], dict[str, int]]], facts: RetentionFacts
) -> None:
    versions = [stored(IDS[n], days, refs, **size) for n, (days, refs, size) in enumerate(drawn)]
    decisions = decide(rule, versions, facts, NOW)
    assert [each.version_id for each in decisions] == [each.id for each in versions]
    assert all(each.reasons for each in decisions)
    gone = {each.version_id for each in decisions if each.is_removable}
    wanted: set[str] = {each.id for each in versions} if facts.blocked else set()
    for told in (facts.served, facts.reached, facts.releases, facts.rollback, facts.spared, facts.leases):
        wanted |= {version for each in told.values() for version in each}
    wanted |= facts.repairs | facts.quarantined | {each.id for each in versions[-rule.keep :]}
    wanted |= {each.id for each in versions if (NOW - each.used_at).total_seconds() < rule.min_age_s}
    for each in versions:
        wanted |= {each.id for p in rule.keep_versions for n in (each.name, *each.refs) if fnmatch.fnmatch(n, p)}
    assert not gone & wanted
    free = [each for each in versions if each.id not in wanted]
    if not rule.max_bytes:
        assert gone == {each.id for each in free}
        return
    left = {t: sum(each.bytes_at.get(t, 0) for each in versions if each.id not in gone) for t in TARGETS}
    for each in free:
        above = [t for t in TARGETS if each.bytes_at.get(t, 0) and left[t] > rule.max_bytes]
        assert each.id in gone or not above, "it is above the limit, and something free was left"
    if gone:
        last = next(each for each in reversed(free) if each.id in gone)
        assert any(size and left[t] + size > rule.max_bytes for t, size in last.bytes_at.items()), "one too many went"
