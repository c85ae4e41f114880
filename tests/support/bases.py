"""Following the base of images: what is pushed under its tag, what is seen of that, begun, and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from syncd.errors import Unavailable
from syncd.plan.phases import ReleasePhase
from syncd.plan.topology import BasePolicy, BaseWatch, Topology
from syncd.reconcile.discovery.base_images import check, rebuild
from syncd.reconcile.views.overview import overview
from syncd.reconcile.views.release import document, load
from syncd.state.records import Release

from tests.support.images import HZ, ONE, Gallery
from tests.support.rooms import Site, site
from tests.unit.oci.kitchen import push_base

REBUILD = BaseWatch(BasePolicy.REBUILD, 3600.0)
REPORT = BaseWatch(BasePolicy.REPORT, 3600.0)
WATCHED = replace(ONE, watched={HZ: REBUILD})


class Out:
    """The connections to a registry that does not answer."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        def fail(*_given: object, **_named: object) -> object:
            raise Unavailable("the base's registry is out")

        return fail


def again(here: Site, gallery: Gallery, topology: Topology = WATCHED, **changes: object) -> Site:
    """Another process over the same record."""
    return site(here.world, here.state, **(gallery.context(topology) | changes))


def push(gallery: Gallery, number: int) -> str:
    """Have the base's tag mean another image. Gives the digest of its manifest."""
    pushed = push_base(gallery.registry, f"{gallery.name}/base", created=f"2026-12-{number:02}T00:00:00Z")
    return pushed.removeprefix("sha256:")


def seen_and_begun(here: Site, target: str = HZ) -> list[Release]:
    check(here.context, target)
    return rebuild(here.context)


def rebuilt(here: Site) -> Release:
    """See what is new, and go live with it."""
    (release,) = seen_and_begun(here)
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE, here.release(release.id).reason
    here.assert_record_is_true()
    return release


def events_of_kind(here: Site, kind: str) -> list[Mapping[str, object]]:
    return [event.detail for event in here.events() if event.kind == kind]


def said(here: Site) -> list[str]:
    """What `syncd status` says of bases."""
    rows = overview(here.state, here.context.topology)["bases"]
    assert isinstance(rows, list)
    return [row["says"] for row in rows]


def shown(here: Site, release: Release) -> dict[str, object]:
    """The one target of a release, as JSON."""
    rows = document(load(here.state, release.id))["targets"]
    assert isinstance(rows, list)
    (row,) = rows
    return dict(row)
