"""Sources of a repair: every other place that has the version. What a source gives is proven as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from syncd.artifact.manifest import Manifest
from syncd.artifact.names import parse_model, parse_version
from syncd.plan.phases import PlacementPhase
from syncd.plan.topology import REGISTRY
from syncd.reconcile.context import World
from syncd.state.content import placements, versions
from syncd.state.records import Version
from syncd.transfer import CopySettings, Source
from syncd.values.source import Revision


@dataclass(frozen=True, slots=True)
class RepairJob:
    """A version at a target that is to be repaired, and what that may use."""

    world: World
    settings: CopySettings
    version: Version
    manifest: Manifest
    target: str
    stop: Event

    @classmethod
    def of(cls, world: World, settings: CopySettings, version_id: str, target: str, stop: Event) -> RepairJob:
        """The job by the record. Raises NotFound: there is no such version."""
        with world.state.read() as conn:
            version, manifest = versions.get(conn, version_id), versions.manifest(conn, version_id)
        return cls(world, settings, version, manifest, target, stop)


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What was damaged and is right again. Nothing of it where the placement was whole."""

    files: tuple[str, ...] = ()
    size_bytes: int = 0
    seal: bool = False  # the seal was written again
    images: tuple[str, ...] = ()
    sources: tuple[str, ...] = field(default=())  # which the bytes may have been read from, in order

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was damaged."""
        return not (self.files or self.seal or self.images)

    def document(self) -> dict[str, object]:
        """As the event, the record and `-o json` have it."""
        return {
            "files": list(self.files),
            "bytes": self.size_bytes,
            "seal": self.seal,
            "images": list(self.images),
            "sources": list(self.sources),
        }


def sources_of(job: RepairJob) -> Mapping[str, Source]:
    """Every other target where the version is sealed, and the registry: first as configured, then by region and name.

    The record is believed about where a seal is: a source is only used for bytes that are proven.
    """
    world, version, manifest = job.world, job.version, job.manifest
    with world.state.read() as conn:
        sealed = {p.target for p in placements.of_version(conn, version.id) if p.phase is PlacementPhase.SEALED}
    found: dict[str, Source] = {
        name: partial(world.targets[name].open, manifest) for name in sealed & world.targets.keys() - {job.target}
    }
    if version.registry in world.registries:
        model, revision = parse_model(version.model), Revision(parse_version(version.name), version.pin)
        registry, opened = version.registry, world.registries
        found[REGISTRY] = lambda entry, offset_bytes: opened[registry].open(
            model, revision, entry.path, offset_bytes, sha256=entry.sha256
        )
    configured, regions = list(world.topology.sources), world.topology.regions
    here = regions.get(job.target)

    def rank(name: str) -> tuple[int, bool, str]:
        place = configured.index(name) if name in configured else len(configured)
        return place, regions.get(name) != here, name

    return {name: found[name] for name in sorted(found, key=rank)}
