"""Baking a version of a registry into an image: the version is pinned and recorded as for a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Event

from sqlalchemy import Connection

from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import ModelName, parse_model, parse_version
from syncd.errors import Conflict
from syncd.oci.build import BuiltImage, ImageBuilder
from syncd.oci.images import BaseImage
from syncd.plan.topology import Topology
from syncd.reconcile.discovery.catalog import catalog, pin
from syncd.registry.base import Registry
from syncd.state.content import versions
from syncd.state.records import Version
from syncd.state.releases import events
from syncd.state.state import State
from syncd.targets.image import recipe_of
from syncd.values.source import Revision, Stream


@dataclass(frozen=True, slots=True)
class PinnedVersion:
    """A version whose bytes are known, and where they are read."""

    version: Version
    manifest: Manifest
    registry: Registry

    def open(self, entry: Entry, offset_bytes: int) -> Stream:
        """See `oci.layers.Source`."""
        revision = Revision(parse_version(self.version.name), self.version.pin)
        return self.registry.open(parse_model(self.version.model), revision, entry.path, offset_bytes)


def pin_version(
    state: State, topology: Topology, registries: Mapping[str, Registry], wanted: tuple[ModelName, str], stop: Event
) -> PinnedVersion:
    """The version `wanted` names; one that was never asked for before is pinned and recorded now.

    Raises:
        Conflict: It is quarantined, or the registry shows other bytes by this name than were recorded.
        NotFound, Unavailable, Invalid, Refused: As the registry says.
    """
    model, ref = wanted
    with state.read() as conn:
        version = versions.find(conn, model, ref)
        manifest = versions.manifest(conn, version.id) if version else None
    if version is None or manifest is None:
        name = topology.registry_of(model)
        revision = pin(state, registries[name], model, ref)
        manifest = catalog(registries[name], model, revision, stop)
        with state.write() as conn:
            version = versions.record(conn, manifest, name, revision.pin, state.now(conn))
            if version.pin != revision.pin:
                versions.repin(conn, version, revision.pin)
    if version.quarantined:
        raise Conflict(version.quarantined, hint="a published version never changes; publish a new one")
    with state.read() as conn:
        version = versions.get(conn, version.id)
    found = PinnedVersion(version, manifest, registries[version.registry])
    found.registry.listing(model, Revision(parse_version(version.name), version.pin))
    return found


def build(state: State, found: PinnedVersion, builder: ImageBuilder, base: BaseImage, directory: str) -> BuiltImage:
    """Bake it with its files in `directory`, and record that in an event. Raises as `Baker.bake`."""
    manifest = found.manifest
    baked = builder.bake(manifest, found.open, base, recipe_of(manifest, directory, found.version.registry))
    with state.write() as conn:
        record_built(conn, found.version, baked, state.now(conn))
    return baked


def record_built(
    conn: Connection, version: Version, baked: BuiltImage, now: datetime, release_id: str | None = None
) -> None:
    """The event of an image that is there."""
    detail: dict[str, object] = {"model": version.model, "version": version.id}
    detail |= {"image": baked.reference, "base": baked.base, "base_digest": baked.base_digest.hex}
    detail["bytes"] = bytes_sent(baked)
    subject = f"{version.model}@{version.name}"
    events.append(conn, "image.baked", now=now, release_id=release_id, subject=subject, detail=detail)


def bytes_sent(baked: BuiltImage) -> int:
    """Of all layers, by this bake."""
    return sum(layer.bytes_sent for layer in baked.layers)
