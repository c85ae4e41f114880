"""View of watched base images that have changed or cannot be resolved now. Contacts no registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection

from syncd.plan.topology import BasePolicy, Topology
from syncd.reconcile.discovery.base_image_updates import update_of
from syncd.reconcile.views.serving import ServingSnapshot
from syncd.reconcile.views.shapes.overview import WatchedBaseDocument
from syncd.state.content import base_images, images
from syncd.state.records import ImageBase, SeenBase, Version

_HINTS: Final = {
    "report": 'the next version is built over it; base_watch = "rebuild" also rebuilds the live version',
    "rebuild": "nothing; a release starts once the model is not on hold and has no other release in flight",
    "tried": "the rebuild failed, or the model was rolled back; push a correct base: it is built on automatically",
    "out": "what is live stays and nothing is rebuilt meanwhile; check the base's tag and its registry",
}


def watched_bases(
    conn: Connection, topology: Topology, models: Iterable[str], serving: ServingSnapshot
) -> list[WatchedBaseDocument]:
    """The watched base images of these models that have changed or cannot be resolved now.

    The number of statements grows only with the rebuilds that are due.
    """
    seen = {each.target: each for each in base_images.all_seen(conn) if each.target in topology.watched}
    known = images.bases(conn) if seen else {}
    return [
        row
        for model in (models if seen else ())
        for target in topology.targets_of(model)
        if target in seen
        for row in _rows(conn, topology, (model, serving.only_version(topology, model)), seen[target], known)
    ]


def _rows(
    conn: Connection,
    topology: Topology,
    about: tuple[str, Version | None],
    seen: SeenBase,
    known: Mapping[tuple[str, str], ImageBase],
) -> Iterator[WatchedBaseDocument]:
    (model, version), target = about, seen.target
    watch = topology.watched[target]
    new = update_of(known.get((version.id, target)), seen) if version else None
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
