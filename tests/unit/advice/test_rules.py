"""Each row of the guidance is a rule: what it says, and where it says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.advice.advise import Advice, advise
from syncd.advice.facts import MeasuredStarts, ServingFacts, StorageKind, instances_max
from syncd.advice.rules import RULES

IMAGE, NAS, OSS, ACC = StorageKind.IMAGE, StorageKind.NAS, StorageKind.OSS, StorageKind.ACCELERATOR
GB = 1_000_000_000
FACTS = ServingFacts(
    region="cn-hangzhou",
    size_bytes=6_500_000_000,
    files=1,
    changes_a_month=4.0,
    functions=1,
    regions=1,
    peak_starts=2,
    provisioned=False,
    measured={OSS: MeasuredStarts(3, 20.0, 30.0)},
)


def text_of(found: Advice, rule: str) -> str:
    return next((reason.finding.text for reason in found.reasons if reason.rule.name == rule), "")


# rule, facts for it, what it says, facts against it
CASES: tuple[tuple[str, ServingFacts, str, ServingFacts], ...] = (
    (
        "in-image.small",
        replace(FACTS, size_bytes=GB // 2, changes_a_month=0.5),
        "0.5 GB that change 0.5 times a month are small and rarely changed: in the image",
        replace(FACTS, size_bytes=GB // 2, changes_a_month=2.0),
    ),
    (
        "in-image.separate",
        FACTS,
        (
            "6.5 GB make the image large and 4.0 changes a month each rebuild and redistribute the image:"
            " separate the model from the image"
        ),
        replace(FACTS, size_bytes=GB, changes_a_month=1.0),
    ),
    (
        "in-image.limit",
        replace(FACTS, size_bytes=25 * GB, image_base_bytes=6 * GB),
        "25.0 GB and a base of 6.0 GB are over the image limit of 30.0 GB",
        replace(FACTS, size_bytes=24 * GB, image_base_bytes=6 * GB),
    ),
    (
        "nas.fast-start",
        FACTS,
        "on-demand functions want a very fast start: a performance-type general-purpose NAS reads 600 MB/s at once",
        replace(FACTS, provisioned=True),
    ),
    (
        "nas.contention",
        replace(FACTS, peak_starts=12),
        "12 instances at once read 6.5 GB in 130 s; the start-up limit is 120 s: use OSS with Accelerator",
        replace(FACTS, peak_starts=11),
    ),
    (
        "nas.one-zone",
        replace(FACTS, multi_zone=True),
        "several zones are wanted, and a NAS is in one of them",
        FACTS,
    ),
    (
        "oss.provisioned",
        replace(FACTS, provisioned=True),
        "instances are provisioned, so the time of a container's start is unimportant: OSS",
        FACTS,
    ),
    (
        "oss.small-files",
        replace(FACTS, size_bytes=GB, files=10_000),
        "10000 files of 100 kB in the mean: OSS mounts are not for many small files",
        replace(FACTS, size_bytes=GB, files=1_000),
    ),
    (
        "oss.large-files",
        FACTS,
        "1 file of 6.5 GB in the mean: few large files suit OSS mounts",
        replace(FACTS, files=100),
    ),
    (
        "oss.no-page-cache",
        replace(FACTS, reads_twice=True),
        "the application reads a file twice, and an OSS mount has no page cache: it fetches the file twice",
        FACTS,
    ),
    (
        "accelerator.many-starts",
        replace(FACTS, peak_starts=10),
        "10 instances may start at once: OSS with Accelerator has no single bandwidth as NAS has",
        replace(FACTS, peak_starts=9),
    ),
    (
        "accelerator.regions",
        replace(FACTS, regions=3),
        "3 regions serve it: OSS with Accelerator keeps management and synchronisation simple",
        FACTS,
    ),
    (
        "accelerator.zones",
        replace(FACTS, region="us-east-1"),
        "no zone of us-east-1 is known to have an accelerator",
        FACTS,
    ),
    (
        "measured.starts",
        replace(FACTS, measured={OSS: MeasuredStarts(3, 20.0, 30.0), NAS: MeasuredStarts(5, 31.25, 40.0)}),
        (
            "cold starts were measured: nas 31.2 s in the median of 5, oss 20.0 s in the median of 3;"
            " that overrides the guidance's 10–30 s and its order of speed: oss is the fastest"
        ),
        replace(FACTS, measured={OSS: MeasuredStarts(2, 20.0, 30.0)}),
    ),
    (
        "measured.limit",
        replace(FACTS, measured={OSS: MeasuredStarts(3, 121.0, 130.0)}),
        "measured starts take longer than the limit of 120 s: oss 121 s",
        FACTS,
    ),
    (
        "record.history",
        replace(FACTS, changes_a_month=None, measured={}),
        (
            "the record has no earlier version, so how often it changes is unknown; and too few cold starts,"
            " so the guidance's figures count"
        ),
        FACTS,
    ),
    (
        "platform.scaling",
        replace(FACTS, peak_starts=None, provisioned=None),
        "the platform did not answer how instances scale: one start at a time is assumed",
        FACTS,
    ),
)


@pytest.mark.parametrize(("rule", "facts", "says", "other"), CASES, ids=[case[0] for case in CASES])
def test_what_a_rule_says_and_when_it_says_nothing(
    rule: str, facts: ServingFacts, says: str, other: ServingFacts
) -> None:
    assert text_of(advise(facts), rule) == says
    assert text_of(advise(other), rule) == ""


def test_every_rule_has_a_case_and_a_source() -> None:
    assert {rule.name for rule in RULES} - {case[0] for case in CASES} == {"oss.cheapest"}
    assert all(rule.source for rule in RULES)
    assert text_of(advise(FACTS), "oss.cheapest") == "OSS is usually the cheapest; a NAS costs a little more"


@pytest.mark.parametrize(
    ("facts", "choice"),
    [
        (FACTS, NAS),  # on-demand, very fast start wanted
        (replace(FACTS, provisioned=True), OSS),  # start time unimportant
        (replace(FACTS, peak_starts=12), ACC),  # many at once
        (replace(FACTS, peak_starts=10, size_bytes=2 * GB), ACC),
        (replace(FACTS, regions=3), ACC),  # several regions
        (replace(FACTS, regions=3, region="us-east-1", multi_zone=True), OSS),  # none there
        (replace(FACTS, size_bytes=GB // 2, changes_a_month=0.2), IMAGE),
        (replace(FACTS, size_bytes=GB // 2, changes_a_month=None), NAS),
        (replace(FACTS, size_bytes=GB, files=10_000), NAS),
        (replace(FACTS, measured={OSS: MeasuredStarts(3, 9.0, 9.0), NAS: MeasuredStarts(3, 11.0, 12.0)}), OSS),
    ],
)
def test_the_recommendations_of_the_guidance(facts: ServingFacts, choice: StorageKind) -> None:
    found = advise(facts)
    assert found.choice is choice
    assert choice not in found.excluded


def test_what_is_excluded_is_never_advised_whatever_speaks_for_it() -> None:
    facts = replace(FACTS, multi_zone=True, reads_twice=True, region="us-east-1", size_bytes=40 * GB)
    assert advise(facts).excluded == {NAS, ACC, IMAGE}
    assert advise(facts).choice is OSS


def test_the_bandwidth_of_a_nas_can_be_set() -> None:
    assert text_of(advise(replace(FACTS, peak_starts=12, nas_bandwidth=2 * 600_000_000)), "nas.contention") == ""
    slow = text_of(advise(replace(FACTS, peak_starts=1, nas_bandwidth=50_000_000)), "nas.contention")
    assert slow == "one instance reads 6.5 GB in 130 s; the start-up limit is 120 s: use OSS with Accelerator"


@pytest.mark.parametrize(
    ("settings", "instances"),
    [
        ({}, 0),
        ({"scaling": {"minInstances": 2}}, 2),
        ({"scaling": {"minInstances": 2, "horizontalScalingPolicies": [{"maxInstances": 12}]}}, 12),
        ({"provision": {"defaultTarget": 3, "scheduledActions": [{"target": 8}, {"target": 5}]}}, 8),
        ({"provision": {"targetTrackingPolicies": [{"minCapacity": 1, "maxCapacity": 7}]}}, 7),
        ({"provision": {"defaultTarget": "3"}}, 0),
    ],
)
def test_the_most_instances_that_scaling_settings_ask_for(settings: object, instances: int) -> None:
    assert instances_max(settings) == instances
