"""Advice view: facts about a version in each region, from the record and the platform, and what follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from statistics import median
from typing import Any, Final

from syncd.advice.advise import Advice, Reason, advise
from syncd.advice.facts import MeasuredStarts, ServingFacts, ServingLimits, StorageKind, instances_max
from syncd.artifact.names import ModelName, VersionName
from syncd.errors import NotFound, SyncdError
from syncd.plan.binding import Binding
from syncd.reconcile.context import World
from syncd.reconcile.requests.operations import check_served
from syncd.reconcile.views.shapes.advice import AdviceDocument, AdviceReasonDocument, RegionAdviceDocument
from syncd.state.content import versions
from syncd.state.records import LoadTime, Version
from syncd.state.serving import live, load_times
from syncd.values.function import InstanceSettings, Scaling

_MONTH_S: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class AdviceQuestion:
    """What a person knows and the record does not. None: as the platform's settings say."""

    peak_starts: int | None = None
    peak_calls: int | None = None  # calls at once; instances take `concurrency` of them each
    reads_twice: bool = False
    multi_zone: bool = False
    limits: ServingLimits | None = None  # instead of the configured ones


@dataclass(frozen=True, slots=True)
class AdvisedVersion:
    """A version, and how often the model changes; None without an earlier version."""

    model: ModelName
    version: VersionName
    size_bytes: int
    files: int
    changes_a_month: float | None


def advice(world: World, model: ModelName, version: VersionName | None, question: AdviceQuestion) -> dict[str, Any]:
    """Where a version should live in each region that serves the model, as JSON. Changes nothing.

    Without `version` it is the one that is live, else the newest of the record, else the newest of the registry. A
    platform that does not answer is a reason, and not an error.

    Raises:
        NotFound: No binding serves the model, or it has no such version.
        Unavailable, Refused: The registry has to be read, and cannot be.
    """
    check_served(world.topology, model)
    about = _version(world, model, version)
    times = _times(world, model)
    by_region: dict[str, list[Binding]] = {}
    for binding in world.topology.bindings_of(model):
        by_region.setdefault(world.topology.region_of(binding.name), []).append(binding)
    regions = [
        _region(world, about, bindings, question, (region, len(by_region), times))
        for region, bindings in by_region.items()
    ]
    return AdviceDocument(
        model=about.model,
        version=about.version,
        size_bytes=about.size_bytes,
        files=about.files,
        changes_a_month=None if about.changes_a_month is None else round(about.changes_a_month, 2),
        regions=regions,
    ).as_json()


def _region(
    world: World,
    about: AdvisedVersion,
    bindings: Sequence[Binding],
    question: AdviceQuestion,
    where: tuple[str, int, Sequence[LoadTime]],
) -> RegionAdviceDocument:
    region, regions, times = where
    limits = question.limits or world.limits
    scalings = [_scaling(world, binding) for binding in bindings]
    facts = ServingFacts(
        region=region,
        size_bytes=about.size_bytes,
        files=about.files,
        changes_a_month=about.changes_a_month,
        functions=len({(binding.runtime, binding.function) for binding in bindings}),
        regions=regions,
        peak_starts=_peak(question, list(zip(bindings, scalings, strict=True))),
        provisioned=None if None in scalings else any(each.target for _, each in filter(None, scalings)),
        nas_bandwidth=limits.nas_bandwidth,
        start_limit_s=limits.start_limit_s,
        reads_twice=question.reads_twice,
        multi_zone=question.multi_zone,
        measured=_measured([time for time in times if time.region == region]),
    )
    bound = [each for binding in bindings for each in binding.models if each.model == about.model]
    kinds = [world.topology.storage_kind(each.target) for each in bound]
    return _document(advise(facts), list(dict.fromkeys(kinds)))


def _document(found: Advice, now: Sequence[str]) -> RegionAdviceDocument:
    facts = found.facts
    return RegionAdviceDocument(
        region=facts.region,
        advice=found.choice.value,
        now=list(now),
        functions=facts.functions,
        peak_starts=facts.peak_starts,
        provisioned=facts.provisioned,
        nas_read_s=round(facts.nas_read_s, 1),
        cold_start_s={kind.value: seen.median_s for kind, seen in facts.measured.items()},
        reasons=[_reason(reason) for reason in found.reasons],
    )


def _reason(reason: Reason) -> AdviceReasonDocument:
    weights = reason.finding.weights
    return AdviceReasonDocument(
        rule=reason.rule.name,
        text=reason.finding.text,
        source=reason.rule.source,
        favours=[kind.value for kind, weight in weights.items() if weight > 0],
        against=[kind.value for kind, weight in weights.items() if weight < 0],
        excludes=sorted(reason.finding.excludes),
    )


def _scaling(world: World, binding: Binding) -> tuple[InstanceSettings, Scaling] | None:
    """The size of a function's instances, and the scaling of the alias; None where the platform does not say."""
    runtime = world.runtimes[binding.runtime]
    try:
        size = runtime.instance(binding.function)
    except SyncdError:
        return None
    try:
        return size, runtime.scaling(binding.function, binding.alias)
    except NotFound:  # no alias yet: nothing is kept
        return size, Scaling()
    except SyncdError:
        return None


def _peak(
    question: AdviceQuestion, found: Sequence[tuple[Binding, tuple[InstanceSettings, Scaling] | None]]
) -> int | None:
    """The most instances that may start at once: as given, or by calls at once, or by scaling and warmth."""
    if question.peak_starts is not None:
        return question.peak_starts
    starts = 0
    for binding, seen in found:
        if seen is None:
            return None
        size, scaling = seen
        warm = binding.warmth.instances if binding.warmth else 0
        starts += max(instances_max(scaling.settings), scaling.target, warm, 1)
        if question.peak_calls is not None:
            return ceil(question.peak_calls / size.concurrency)
    return starts


def _measured(times: Iterable[LoadTime]) -> Mapping[StorageKind, MeasuredStarts]:
    by_kind: dict[StorageKind, list[float]] = {}
    for time in times:
        if time.cold:
            by_kind.setdefault(StorageKind(time.target_kind), []).append(time.answer_ms / 1000)
    return {kind: MeasuredStarts(len(took), median(took), max(took)) for kind, took in by_kind.items()}


def _times(world: World, model: ModelName) -> list[LoadTime]:
    with world.state.read() as conn:
        return [time for each in versions.known(conn, model) for time in load_times.of_version(conn, each.id)]


def _version(world: World, model: ModelName, version: VersionName | None) -> AdvisedVersion:
    with world.state.read() as conn:
        known = versions.known(conn, model)
        names = {each.name for each in known}
        served = live.refs(conn, model)
        name = version or next((each for each in served if each in names), known[-1].name if known else None)
        found = next((each for each in known if each.name == name), None)
        now = world.state.now(conn)
        files = len(versions.manifest(conn, found.id).entries) if found else 0
    changes = _changes(known, now)
    if found is not None:
        return AdvisedVersion(model, VersionName(found.name), found.size_bytes, files, changes)
    return replace(_at_registry(world, model, version), changes_a_month=changes)


def _changes(known: Sequence[Version], now: datetime) -> float | None:
    """New versions a month since the first one; None for fewer than two. Less than a month counts as a whole one."""
    if len(known) < 2:
        return None
    passed_s = (now - known[0].created_at).total_seconds()
    return (len(known) - 1) / max(passed_s / _MONTH_S, 1.0)  # three versions in one hour say little about the month


def _at_registry(world: World, model: ModelName, version: VersionName | None) -> AdvisedVersion:
    registry = world.registries[world.topology.registry_of(model)]
    if version is None:
        seen = registry.discover(model)
        if not seen:
            raise NotFound(f"{model} has no version, in the record or in its registry", hint="publish one first")
        version = VersionName(seen[-1].version)
    revision = registry.resolve(model, version)
    files = registry.listing(model, revision)
    return AdvisedVersion(model, VersionName(revision.version), sum(f.size_bytes for f in files), len(files), None)
