"""Release plan: what a release would do. Read-only."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.artifact.names import parse_model
from syncd.plan.binding import Binding
from syncd.reconcile.context import World
from syncd.reconcile.discovery.base_image_updates import BaseImageUpdate, updates
from syncd.reconcile.discovery.catalog import catalog, pin
from syncd.reconcile.requests.quotas import check_quotas, unchecked
from syncd.reconcile.trust.evaluation import TrustForecast, described, foresee
from syncd.reconcile.trust.evidence import gather
from syncd.reconcile.views.plans.estimate import TargetEstimate, totals
from syncd.reconcile.views.shapes.plans import (
    PlanDocument,
    PlannedFlipDocument,
    PlannedStageDocument,
    PlannedTargetDocument,
    PlannedTrustDocument,
    SeenBaseUpdateDocument,
    TrustFindingDocument,
)
from syncd.state.content import contents, images, versions
from syncd.state.content.journal import SqlJournal
from syncd.state.content.layers import SqlUploadJournal
from syncd.state.records import PlacedImage
from syncd.state.serving import live
from syncd.targets.base import Depth

if TYPE_CHECKING:
    from syncd.targets.image import ImageTarget


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """Transfer that one target needs. `kept_bytes` counts files that are there and verified from an earlier attempt.

    `copied_bytes` counts files that the target has in another version and copies server-side. `send_bytes` is an upper
    bound: parts that the target has in files of other versions are found while a file is read, and copied.

    Nothing is sent to a target that is `replicated_from` another one; the seal there may have come before the files.

    At an image target these are bytes of layers, `send_files` is the number of layers, and `copied_bytes` counts the
    base's layers that are not there yet. `image` is the sealed image, or the repository if there is none.
    """

    target: str
    region: str
    sealed: bool
    send_bytes: int
    kept_bytes: int
    send_files: int
    replicated_from: str = ""
    copied_bytes: int = 0
    image: str = ""
    base_update: BaseImageUpdate | None = None  # the base of the version's image has changed


@dataclass(frozen=True, slots=True)
class FlipPlan:
    """Planned flip of one alias. `serves_now` is the model's version there by the record, "" for none."""

    binding: str
    region: str
    function: str
    alias: str
    points_at: str | None
    serves_now: str


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Planned stage: a wave of regions, its share of the traffic, and the pause after it."""

    regions: tuple[str, ...]
    percent: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """Everything a release of one version would move and flip."""

    model: str
    version: str
    digest: Digest
    size_bytes: int
    files: int
    targets: tuple[TargetPlan, ...]
    flips: tuple[FlipPlan, ...]
    steps: tuple[StepPlan, ...]
    warnings: tuple[str, ...] = ()
    trust: TrustForecast | None = None  # None where the policy is off


def plan(world: World, registry: str, model: str, version: str) -> ReleasePlan:
    """Plan what `publish` would do now; changes nothing. Files without a digest at the source are read to compute it.

    Raises:
        NotFound, Unavailable, Invalid: The registry has no such complete version, a name in it is refused, or no image
            of it can be built.
        Conflict: A configured quota would be exceeded.
    """
    name = parse_model(model)
    check_quotas(world, name)
    there = world.registries[registry]
    revision, stop = pin(world.state, there, name, version), threading.Event()
    manifest = catalog(there, name, revision, stop)
    rule = world.trust.for_model(name)
    trust = (
        None
        if rule is None
        else foresee(world, rule, manifest, gather(there, registry, (name, revision), manifest, rule, stop))
    )
    targets = tuple(
        (_image if target in world.topology.images else _target)(world, manifest, target)
        for target in world.topology.targets_of(name)
    )
    flips = tuple(_flip(world, binding, name) for binding in world.topology.bindings_of(name))
    size_bytes, files = manifest.size_bytes, len(manifest.entries)
    return ReleasePlan(
        name,
        manifest.version,
        manifest.digest,
        size_bytes,
        files,
        targets,
        flips,
        _steps(world, name, flips),
        (*unchecked(world, name), *_accelerators(world, name, manifest)),
        trust,
    )


def document(found: ReleasePlan, estimated: Mapping[str, TargetEstimate] = MappingProxyType({})) -> dict[str, Any]:
    """The plan as JSON."""
    return PlanDocument(
        model=found.model,
        version=found.version,
        digest=found.digest.hex,
        bytes=found.size_bytes,
        files=found.files,
        targets=[_planned_target(target, estimated.get(target.target)) for target in found.targets],
        flips=[
            PlannedFlipDocument(
                binding=f.binding,
                region=f.region,
                function=f.function,
                alias=f.alias,
                function_version=f.points_at,
                from_version=f.serves_now or None,
                to_version=found.version,
            )
            for f in found.flips
        ],
        steps=[
            PlannedStageDocument(regions=list(step.regions), percent=step.percent, pause_s=step.pause_s)
            for step in found.steps
        ],
        **_warnings(found.warnings),
        **_trust(found.trust),
    ).as_json()


def _warnings(found: Sequence[str]) -> dict[str, Any]:
    return {"warnings": list(found)} if found else {}


def _trust(found: TrustForecast | None) -> dict[str, Any]:
    if found is None:
        return {}
    findings = [TrustFindingDocument(**described(each)) for each in found.findings]
    shape = PlannedTrustDocument(outcome=found.outcome.value, policy=found.policy.hex, findings=findings)
    return {"trust": shape}


def _planned_target(target: TargetPlan, estimate: TargetEstimate | None = None) -> PlannedTargetDocument:
    new = target.base_update
    return PlannedTargetDocument(
        target=target.target,
        region=target.region,
        sealed=target.sealed,
        send_bytes=target.send_bytes,
        copied_bytes=target.copied_bytes,
        kept_bytes=target.kept_bytes,
        send_files=target.send_files,
        replicated_from=target.replicated_from or None,
        image=target.image or None,
        base=SeenBaseUpdateDocument(name=new.base, digest=new.was.hex, new_digest=new.now.hex, seen_at=new.since)
        if new
        else None,
        **_estimated(estimate),
    )


def _estimated(estimate: TargetEstimate | None) -> dict[str, Any]:
    """The keys of an estimate, left out where there is none."""
    if estimate is None:
        return {}
    return {
        "seconds": estimate.seconds,
        "measured_bytes_s": estimate.measured_bytes_s,
        "monthly": totals(estimate.monthly),
        "once": totals(estimate.once),
    }


def _accelerators(world: World, model: str, manifest: Manifest) -> list[str]:
    """A warning for each accelerator that cannot hold what is live there beside the new version."""
    found = []
    with world.state.read() as conn:
        for target, capacity in world.topology.accelerators.items():
            served = [
                version_id
                for binding in world.topology.bindings.values()
                for bound in binding.models
                if bound.target == target and (recorded := live.get(conn, binding.name))
                if (version_id := recorded.models.get(bound.model))
            ]
            others = {
                each: versions.get(conn, each).size_bytes for each in served if each != versions.identity(manifest)
            }
            total = sum(others.values()) + manifest.size_bytes
            if target in world.topology.targets_of(model) and total > capacity:
                found.append(
                    f"{target}: {sum(others.values())} bytes live + {manifest.size_bytes} of the new version = {total},"
                    f" its accelerator holds {capacity}: starts read the rest from the bucket; raise its capacity"
                )
    return found


def _steps(world: World, model: str, flips: Sequence[FlipPlan]) -> tuple[StepPlan, ...]:
    strategy = world.strategies.for_model(model)
    waves = {flip.region: strategy.wave_of(flip.region) for flip in flips}
    return tuple(
        StepPlan(tuple(sorted(r for r, wave in waves.items() if wave == stage.wave)), stage.percent, stage.pause_s)
        for stage in strategy.stages(waves.values())
    )


def _target(world: World, manifest: Manifest, target: str) -> TargetPlan:
    journal = SqlJournal(world.state, versions.identity(manifest), target)
    found = world.targets[target].inspect(manifest, Depth.SIZES, journal)
    region = world.topology.regions[target]
    lacking = [entry for entry in manifest.entries if entry.path in found.missing or entry.path in found.wrong]
    kept_bytes = manifest.size_bytes - sum(entry.size_bytes for entry in lacking)
    if replica := world.topology.replicas.get(target):
        return TargetPlan(target, region, found.sealed and not lacking, 0, kept_bytes, 0, replica.source)
    with world.state.read() as conn:
        there = contents.copyable(conn, target, {entry.sha256 for entry in lacking})
    send = [entry for entry in lacking if entry.sha256 not in there]
    send_bytes = sum(entry.size_bytes for entry in send)
    copied_bytes = manifest.size_bytes - kept_bytes - send_bytes
    return TargetPlan(target, region, found.sealed, send_bytes, kept_bytes, len(send), copied_bytes=copied_bytes)


def _image(world: World, manifest: Manifest, name: str) -> TargetPlan:
    target, region = world.images[name], world.topology.regions[name]
    version_id = versions.identity(manifest)
    with world.state.read() as conn:
        there = images.find(conn, version_id, name)
        known = images.base(conn, version_id, name)
        new = updates(conn, version_id, name) if name in world.topology.watched else None
    source = world.topology.replicas[name].source if name in world.topology.replicas else ""
    if there is not None and is_there(target, manifest, there):
        return TargetPlan(name, region, True, 0, manifest.size_bytes, 0, source, image=there.reference, base_update=new)
    if source:
        return TargetPlan(name, region, False, 0, 0, 0, source, image=target.repository)
    base = target.base(known.digest if known and known.base == str(target.settings.base) else None)
    seen = target.outlook(manifest, base, SqlUploadJournal(world.state, target.repository))
    return TargetPlan(
        name,
        region,
        False,
        seen.send_bytes,
        seen.kept_bytes,
        seen.send_layers,
        copied_bytes=seen.copied_bytes,
        image=target.repository,
    )


def is_there(target: ImageTarget, manifest: Manifest, image: PlacedImage) -> bool:
    """Whether an image is complete and as configured. Raises as `ImageTarget.faults`.

    A base whose tag has moved since does not count: an old version needs no new image.
    """
    wanted = (target.repository, target.settings.served_from, str(target.settings.base), target.directory(manifest))
    if (image.repository, image.served_from, image.base, image.directory) != wanted:
        return False
    return not target.faults(manifest, image.tag, image.digest)


def _flip(world: World, binding: Binding, model: str) -> FlipPlan:
    pointed = world.runtimes[binding.runtime].read(binding.function, binding.alias)
    with world.state.read() as conn:
        recorded = live.get(conn, binding.name)
        version_id = recorded.models.get(model) if recorded else None
        now = versions.get(conn, version_id).name if version_id else ""
    region = world.topology.regions[binding.runtime]
    return FlipPlan(binding.name, region, binding.function, binding.alias, pointed.function_version, now)
