"""Base image updates of served versions, read from the record. Contacts no registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from syncd.artifact.digest import Digest
from syncd.plan.topology import BasePolicy, Topology
from syncd.state.content import base_images, images, versions
from syncd.state.records import Version
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

    @property
    def as_json(self) -> dict[str, object]:
        """The update as JSON."""
        return {"name": self.base, "digest": self.was.hex, "new_digest": self.now.hex, "seen_at": self.since}


def describe(conn: Connection, topology: Topology, models: Iterable[str]) -> list[dict[str, object]]:
    """The watched base images that have changed or cannot be resolved now, as JSON."""
    return [
        row for model in models for target in topology.targets_of(model) for row in _rows(conn, topology, model, target)
    ]


def _rows(conn: Connection, topology: Topology, model: str, target: str) -> Iterator[dict[str, object]]:
    watch, seen = topology.watched.get(target), base_images.seen(conn, target)
    if watch is None or seen is None:
        return
    version = served(conn, topology, model)
    new = updates(conn, version.id, target) if version else None
    row: dict[str, object] = {"model": model, "version": version.name if version else None}
    row |= {"region": topology.regions[target], "target": target, "watch": watch.policy.value}
    if version is not None and new is not None:
        is_tried = watch.policy is BasePolicy.REBUILD and base_images.is_settled(conn, version, seen)
        yield row | new.as_json | {"says": str(new), "hint": _HINTS["tried" if is_tried else watch.policy.value]}
    if seen.reason:
        says = f"base {seen.base} has not been resolved since {seen.failing_since:%Y-%m-%d %H:%M:%S} UTC: {seen.reason}"
        old = {"name": seen.base, "digest": None, "new_digest": None, "seen_at": seen.since}
        yield row | old | {"says": says, "hint": _HINTS["out"]}


_HINTS: Final = {
    "report": 'the next version is built over it; base_watch = "rebuild" also rebuilds the live version',
    "rebuild": "nothing; a release starts once the model is not on hold and has no other release in flight",
    "tried": "the rebuild failed, or the model was rolled back; push a correct base: it is built on automatically",
    "out": "what is live stays and nothing is rebuilt meanwhile; check the base's tag and its registry",
}


def served(conn: Connection, topology: Topology, model: str) -> Version | None:
    """The version that the bindings of a model serve; None if none does, or if they serve several."""
    recorded = [live.get(conn, binding.name) for binding in topology.bindings_of(model)]
    serving = {each.models[model] for each in recorded if each and model in each.models}
    return versions.get(conn, serving.pop()) if len(serving) == 1 else None


def updates(conn: Connection, version_id: str, target: str) -> BaseImageUpdate | None:
    """The update of the base of a version's image, by the last check that resolved it; None if the base is the same."""
    known, seen = images.base(conn, version_id, target), base_images.seen(conn, target)
    if known is None or seen is None or seen.digest is None or seen.since is None:
        return None
    if seen.base != known.base or seen.digest == known.digest:
        return None
    return BaseImageUpdate(target, seen.base, known.digest, seen.digest, seen.since)
