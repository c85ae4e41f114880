"""Base image updates of served versions, read from the record. Contacts no registry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from syncd.artifact.digest import Digest
from syncd.plan.topology import Topology
from syncd.state.content import base_images, images, versions
from syncd.state.records import ImageBase, SeenBase, Version
from syncd.state.serving import live


@dataclass(frozen=True, slots=True)
class BaseImageUpdate:
    """A base image that has changed since a version's image was built over it."""

    target: str
    base: str
    was: Digest
    now: Digest
    since: datetime  # when the new one was first seen

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"base {self.base} was {self.was.short}, is {self.now.short} (seen {since})"


def served(conn: Connection, topology: Topology, model: str) -> Version | None:
    """The version that the bindings of a model serve; None if none does, or if they serve several."""
    recorded = [live.get(conn, binding.name) for binding in topology.bindings_of(model)]
    serving = {each.models[model] for each in recorded if each and model in each.models}
    return versions.get(conn, serving.pop()) if len(serving) == 1 else None


def updates(conn: Connection, version_id: str, target: str) -> BaseImageUpdate | None:
    """The update of the base of a version's image, by the last check that resolved it; None if the base is the same."""
    return update_of(images.base(conn, version_id, target), base_images.seen(conn, target))


def update_of(known: ImageBase | None, seen: SeenBase | None) -> BaseImageUpdate | None:
    """As `updates`, from the base of a version's image and the base that was seen last, at one target."""
    if known is None or seen is None or seen.digest is None or seen.since is None:
        return None
    if seen.base != known.base or seen.digest == known.digest:
        return None
    return BaseImageUpdate(seen.target, seen.base, known.digest, seen.digest, seen.since)
