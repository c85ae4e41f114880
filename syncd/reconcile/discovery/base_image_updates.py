"""Whether the base of what is served has changed since, as the record has it: nobody is asked."""

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
    """A version's image at a target lies over another base than its name means by now."""

    target: str
    base: str
    was: Digest
    now: Digest
    since: datetime  # when the new one was first seen

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"base {self.base} was {self.was.short}, is {self.now.short} (seen {since})"

    @property
    def told(self) -> dict[str, object]:
        """As JSON."""
        return {"name": self.base, "digest": self.was.hex, "new_digest": self.now.hex, "seen_at": self.since}


def describe(conn: Connection, topology: Topology, models: Iterable[str]) -> list[dict[str, object]]:
    """The watched bases that are not those of what is live, and those that cannot be looked up now, as JSON."""
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
        yield row | new.told | {"says": str(new), "hint": _HINTS["tried" if is_tried else watch.policy.value]}
    if seen.reason:
        says = f"base {seen.base} cannot be looked up since {seen.failing_since:%Y-%m-%d %H:%M:%S} UTC: {seen.reason}"
        old = {"name": seen.base, "digest": None, "new_digest": None, "seen_at": seen.since}
        yield row | old | {"says": says, "hint": _HINTS["out"]}


_HINTS: Final = {
    "report": 'the next version is laid over it; base_watch = "rebuild" releases the one that is live again',
    "rebuild": "nothing; a release is begun when nothing else of the model is under way, and nobody holds it",
    "tried": "it failed once, or the model was rolled back since; push a base that is right: it is built on by itself",
    "out": "nothing is built on it meanwhile, what is live stays; look at the base's tag, and at its registry",
}


def served(conn: Connection, topology: Topology, model: str) -> Version | None:
    """The version that the bindings of a model serve; None where none does, or they serve several."""
    recorded = [live.get(conn, binding.name) for binding in topology.bindings_of(model)]
    serving = {each.models[model] for each in recorded if each and model in each.models}
    return versions.get(conn, serving.pop()) if len(serving) == 1 else None


def updates(conn: Connection, version_id: str, target: str) -> BaseImageUpdate | None:
    """Whether the base of a version's image has changed since, by the last look that found something."""
    known, seen = images.base(conn, version_id, target), base_images.seen(conn, target)
    if known is None or seen is None or seen.digest is None or seen.since is None:
        return None
    if seen.base != known.base or seen.digest == known.digest:
        return None
    return BaseImageUpdate(target, seen.base, known.digest, seen.digest, seen.since)
