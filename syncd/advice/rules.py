"""The platform's guidance as rules: each speaks for or against kinds of storage, or excludes them.

A rule has its source. Its text has the figures that it compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from syncd.advice.facts import ACCELERATOR_REGIONS, ServingFacts, StorageKind

_IMAGE, _NAS, _OSS, _ACC = StorageKind.IMAGE, StorageKind.NAS, StorageKind.OSS, StorageKind.ACCELERATOR
_BEST_PRACTICE: Final = "Function Compute: GPU instance model storage best practices, 2025-10-31"
_LIMITS: Final = "Function Compute: limits, and the image target's limit_bytes"
_ACCELERATOR: Final = "OSS: accelerator zones"
_RECORD: Final = "the record"

SMALL_BYTES: Final = 1_000_000_000  # "hundreds of MB"
RARE_CHANGES: Final = 1.0  # a month
MANY_STARTS: Final = 10
SMALL_FILE_BYTES: Final = 1_000_000
MANY_FILES: Final = 1_000
LARGE_FILE_BYTES: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule says. Weights are above 0 for a kind and below 0 against it; `excludes` are out of the question."""

    text: str
    weights: Mapping[StorageKind, int] = field(default_factory=dict)
    excludes: frozenset[StorageKind] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the guidance."""

    name: str
    source: str
    check: Callable[[ServingFacts], RuleResult | None]


def gb(size_bytes: float) -> str:
    """`6.5 GB`."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"


def _small(facts: ServingFacts) -> RuleResult | None:
    changes = facts.changes_a_month
    if facts.size_bytes > SMALL_BYTES or changes is None or changes > RARE_CHANGES:
        return None
    return RuleResult(
        f"{gb(facts.size_bytes)} that change {changes:.1f} times a month are small and rarely changed: in the image",
        {_IMAGE: 5},
    )


def _separate(facts: ServingFacts) -> RuleResult | None:
    reasons = []
    if facts.size_bytes > SMALL_BYTES:
        reasons.append(f"{gb(facts.size_bytes)} make the image large")
    if facts.changes_a_month is not None and facts.changes_a_month > RARE_CHANGES:
        reasons.append(f"{facts.changes_a_month:.1f} changes a month each rebuild and redistribute the image")
    return RuleResult(f"{' and '.join(reasons)}: separate the model from the image", {_IMAGE: -5}) if reasons else None


def _image_limit(facts: ServingFacts) -> RuleResult | None:
    total = facts.size_bytes + facts.image_base_bytes
    if total <= facts.image_limit_bytes:
        return None
    base = f" and a base of {gb(facts.image_base_bytes)}" if facts.image_base_bytes else ""
    limit = gb(facts.image_limit_bytes)
    return RuleResult(f"{gb(facts.size_bytes)}{base} are over the image limit of {limit}", excludes=frozenset({_IMAGE}))


def _fast_start(facts: ServingFacts) -> RuleResult | None:
    if facts.provisioned is not False or len(facts.enough()) > 1:  # measured starts say more
        return None
    return RuleResult(
        "on-demand functions want a very fast start: a performance-type general-purpose NAS"
        f" reads {facts.nas_bandwidth / 1e6:.0f} MB/s at once",
        {_NAS: 3},
    )


def _provisioned(facts: ServingFacts) -> RuleResult | None:
    if not facts.provisioned:
        return None
    return RuleResult("instances are provisioned, so the time of a container's start is unimportant: OSS", {_OSS: 3})


def _many_starts(facts: ServingFacts) -> RuleResult | None:
    if facts.peak_starts is None or facts.peak_starts < MANY_STARTS:
        return None
    return RuleResult(
        f"{facts.peak_starts} instances may start at once: OSS with Accelerator has no single bandwidth as NAS has",
        {_ACC: 4},
    )


def _contention(facts: ServingFacts) -> RuleResult | None:
    if facts.nas_read_s <= facts.start_limit_s:
        return None
    starts = facts.peak_starts or 1
    return RuleResult(
        f"{f'{starts} instances at once read' if starts > 1 else 'one instance reads'} {gb(facts.size_bytes)} in"
        f" {facts.nas_read_s:.0f} s;"
        f" the start-up limit is {facts.start_limit_s:.0f} s: use OSS with Accelerator",
        {_ACC: 2},
        frozenset({_NAS}),
    )


def _regions(facts: ServingFacts) -> RuleResult | None:
    if facts.regions < 2:
        return None
    return RuleResult(
        f"{facts.regions} regions serve it: OSS with Accelerator keeps management and synchronisation simple",
        {_ACC: 3, _OSS: 1},
    )


def _multi_zone(facts: ServingFacts) -> RuleResult | None:
    if not facts.multi_zone:
        return None
    return RuleResult("several zones are wanted, and a NAS is in one of them", excludes=frozenset({_NAS}))


def _page_cache(facts: ServingFacts) -> RuleResult | None:
    if not facts.reads_twice:
        return None
    return RuleResult(
        "the application reads a file twice, and an OSS mount has no page cache: it fetches the file twice",
        {_NAS: 2, _IMAGE: 2, _OSS: -1, _ACC: -1},
    )


def _small_files(facts: ServingFacts) -> RuleResult | None:
    if facts.files < MANY_FILES or facts.file_bytes >= SMALL_FILE_BYTES:
        return None
    return RuleResult(
        f"{facts.files} files of {facts.file_bytes / 1e3:.0f} kB in the mean: OSS mounts are not for many small files",
        {_OSS: -3, _ACC: -3},
    )


def _large_files(facts: ServingFacts) -> RuleResult | None:
    if facts.file_bytes < LARGE_FILE_BYTES:
        return None
    few = f"{facts.files} file{'s' * (facts.files > 1)} of {gb(facts.file_bytes)} in the mean"
    return RuleResult(f"{few}: few large files suit OSS mounts", {_OSS: 1, _ACC: 1})


def _no_accelerator(facts: ServingFacts) -> RuleResult | None:
    if facts.region in ACCELERATOR_REGIONS:
        return None
    return RuleResult(f"no zone of {facts.region} is known to have an accelerator", excludes=frozenset({_ACC}))


def _cheapest(facts: ServingFacts) -> RuleResult | None:
    del facts
    return RuleResult("OSS is usually the cheapest; a NAS costs a little more", {_OSS: 1})


def _measured(facts: ServingFacts) -> RuleResult | None:
    seen = facts.enough()
    if not seen:
        return None
    shown = [f"{kind} {of.median_s:.1f} s in the median of {of.starts}" for kind, of in sorted(seen.items())]
    text = f"cold starts were measured: {', '.join(shown)}; that overrides the guidance's 10–30 s"
    if len(seen) == 1:
        return RuleResult(text)
    fastest = min(seen, key=lambda kind: seen[kind].median_s)
    return RuleResult(f"{text} and its order of speed: {fastest} is the fastest", {fastest: 3})


def _measured_slow(facts: ServingFacts) -> RuleResult | None:
    late = {kind: of for kind, of in facts.enough().items() if of.median_s > facts.start_limit_s}
    if not late:
        return None
    shown = [f"{kind} {of.median_s:.0f} s" for kind, of in sorted(late.items())]
    return RuleResult(
        f"measured starts take longer than the limit of {facts.start_limit_s:.0f} s: {', '.join(shown)}",
        excludes=frozenset(late),
    )


def _no_history(facts: ServingFacts) -> RuleResult | None:
    lacking = [] if facts.changes_a_month is not None else ["no earlier version, so how often it changes is unknown"]
    lacking += [] if facts.enough() else ["too few cold starts, so the guidance's figures count"]
    return RuleResult(f"the record has {'; and '.join(lacking)}") if lacking else None


def _no_scaling(facts: ServingFacts) -> RuleResult | None:
    if facts.peak_starts is not None and facts.provisioned is not None:
        return None
    return RuleResult("the platform did not answer how instances scale: one start at a time is assumed")


RULES: Final = (
    Rule("in-image.small", _BEST_PRACTICE, _small),
    Rule("in-image.separate", _BEST_PRACTICE, _separate),
    Rule("in-image.limit", _LIMITS, _image_limit),
    Rule("nas.fast-start", _BEST_PRACTICE, _fast_start),
    Rule("nas.contention", _BEST_PRACTICE, _contention),
    Rule("nas.one-zone", _BEST_PRACTICE, _multi_zone),
    Rule("oss.provisioned", _BEST_PRACTICE, _provisioned),
    Rule("oss.small-files", _BEST_PRACTICE, _small_files),
    Rule("oss.large-files", _BEST_PRACTICE, _large_files),
    Rule("oss.no-page-cache", _BEST_PRACTICE, _page_cache),
    Rule("oss.cheapest", _BEST_PRACTICE, _cheapest),
    Rule("accelerator.many-starts", _BEST_PRACTICE, _many_starts),
    Rule("accelerator.regions", _BEST_PRACTICE, _regions),
    Rule("accelerator.zones", _ACCELERATOR, _no_accelerator),
    Rule("measured.starts", _RECORD, _measured),
    Rule("measured.limit", _RECORD, _measured_slow),
    Rule("record.history", _RECORD, _no_history),
    Rule("platform.scaling", _RECORD, _no_scaling),
)
