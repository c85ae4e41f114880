"""View of watched base images that have changed or cannot be resolved now. Contacts no registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Connection

from syncd.plan.topology import BasePolicy, Topology
from syncd.reconcile.discovery.base_image_updates import served, updates
from syncd.reconcile.views.shapes.overview import WatchedBaseDocument
from syncd.state.content import base_images

_HINTS: Final = {
    "report": 'the next version is built over it; base_watch = "rebuild" also rebuilds the live version',
    "rebuild": "nothing; a release starts once the model is not on hold and has no other release in flight",
    "tried": "the rebuild failed, or the model was rolled back; push a correct base: it is built on automatically",
    "out": "what is live stays and nothing is rebuilt meanwhile; check the base's tag and its registry",
}


def watched_bases(conn: Connection, topology: Topology, models: Iterable[str]) -> list[WatchedBaseDocument]:
    """The watched base images of these models that have changed or cannot be resolved now."""
    return [
        row for model in models for target in topology.targets_of(model) for row in _rows(conn, topology, model, target)
    ]


def _rows(conn: Connection, topology: Topology, model: str, target: str) -> Iterator[WatchedBaseDocument]:
    watch, seen = topology.watched.get(target), base_images.seen(conn, target)
    if watch is None or seen is None:
        return
    version = served(conn, topology, model)
    new = updates(conn, version.id, target) if version else None
    common: dict[str, Any] = {
        "model": model,
        "version": version.name if version else None,
        "region": topology.regions[target],
        "target": target,
        "watch": watch.policy,
    }
    if version is not None and new is not None:
        is_tried = watch.policy is BasePolicy.REBUILD and base_images.is_settled(conn, version, seen)
        yield WatchedBaseDocument(
            **common,
            name=new.base,
            digest=new.was.hex,
            new_digest=new.now.hex,
            seen_at=new.since,
            says=str(new),
            hint=_HINTS["tried" if is_tried else watch.policy.value],
        )
    if seen.reason:
        yield WatchedBaseDocument(
            **common,
            name=seen.base,
            digest=None,
            new_digest=None,
            seen_at=seen.since,
            says=f"base {seen.base} has not been resolved since {seen.failing_since:%Y-%m-%d %H:%M:%S} UTC: "
            f"{seen.reason}",
            hint=_HINTS["out"],
        )
