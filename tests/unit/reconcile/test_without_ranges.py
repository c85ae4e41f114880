"""A source that knows no ranges: the same checks run as the bytes pass, and nothing damaged is sealed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.artifact.names import ModelName
from syncd.errors import Corrupt
from syncd.formats.spans import SKIP_BYTES_MAX
from syncd.http.client import HttpClient, HttpSettings
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.discovery.catalog import catalog, survey
from syncd.reconcile.discovery.inspection import inspect
from syncd.reconcile.requests.operations import publish
from syncd.registry.settings import IndexSettings
from syncd.registry.sources.index import IndexRegistry
from syncd.state.releases import events
from syncd.state.state import State

from tests.emulators.web import Reply, Request
from tests.support.images import HZ, Gallery
from tests.support.rooms import SDXL as NAME
from tests.support.rooms import Site, World, site
from tests.unit.formats.written import zip_like_torch
from tests.unit.registry.webs import ONCE, IndexWeb

WHOLE = zip_like_torch({"data.pkl": 100, "data/0": SKIP_BYTES_MAX + (1 << 20)})
CUT = WHOLE[:-1000]
MODEL = "unet/model.pt"
SDXL = ModelName(NAME)


@pytest.fixture
def index() -> Iterator[IndexWeb]:
    """An index whose server answers every range with the whole file."""
    made = IndexWeb()

    def answer(request: Request) -> Reply | None:
        if "range" not in request.headers:
            return None
        plain = {name: value for name, value in request.headers.items() if name != "range"}
        return made.web._answer(Request(request.method, request.path, request.query, plain))

    made.web.faults.append(answer)
    with made.web:
        yield made


def registry_of(index: IndexWeb) -> IndexRegistry:
    http = HttpClient(HttpSettings(index.web.origin, timeout_s=5, policy=ONCE))
    return IndexRegistry(IndexSettings(index.url, (SDXL,)), http)


@pytest.fixture
def here(on_sqlite: Site, index: IndexWeb) -> Site:
    on_sqlite.context.registries["models"] = registry_of(index)  # type: ignore[index]
    return on_sqlite


def asked(index: IndexWeb) -> int:
    return sum(request.path.endswith(MODEL) for request in index.web.seen)


@pytest.mark.parametrize("data", [WHOLE, CUT], ids=["whole", "cut"])
def test_a_tail_that_cannot_be_reached_is_left_to_the_copy(index: IndexWeb, data: bytes) -> None:
    index.add(SDXL, "v1", {MODEL: data, "another.pt": data, "config.json": b"{}"})
    registry = registry_of(index)
    found = inspect(registry, SDXL, registry.resolve(SDXL, "v1"), threading.Event())
    assert sorted(found.unchecked) == ["another.pt", MODEL]
    opened = [request for request in index.web.seen if request.path.endswith(".pt")]
    assert sum("range" in request.headers for request in opened) == 1  # it is asked once whether there are ranges
    assert len(opened) == 3


def test_a_damaged_file_stalls_the_release_before_the_seal(here: Site, index: IndexWeb) -> None:
    index.add(SDXL, "v1", {MODEL: CUT, "config.json": b"{}"})
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    ended = here.release(release.id)
    assert ended.phase is ReleasePhase.STALLED
    assert f"{MODEL} has {len(CUT)} bytes, which do not end as a zip archive does" in ended.reason
    keys = [key for store in here.world.stores.values() for key in store.objects]
    assert not [key for key in keys if key.endswith((MODEL, "manifest.json"))]
    again = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(again.id).phase is ReleasePhase.STALLED


def test_a_whole_file_is_live_and_was_read_once_to_be_copied(here: Site, index: IndexWeb) -> None:
    index.add(SDXL, "v1", {MODEL: WHOLE, "config.json": b"{}"})
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE
    assert asked(index) == 3  # its head, a range that was not given, the copy
    with here.state.read() as conn:
        told = [
            event.detail["unchecked"] for event in events.of_release(conn, release.id) if "unchecked" in event.detail
        ]
    assert told == [[MODEL]]


def test_a_file_that_is_hashed_anyway_is_checked_meanwhile(index: IndexWeb) -> None:
    for number, data in enumerate((WHOLE, CUT)):
        version = f"v{number}"
        index.add(SDXL, version, {MODEL: data})
        del index.models[SDXL][version]["files"][0]["sha256"]
    registry = registry_of(index)
    found = survey(registry, SDXL, registry.resolve(SDXL, "v0"), threading.Event())
    assert (list(found.unchecked), len(found.manifest.entries)) == ([], 1)
    with pytest.raises(Corrupt, match=f"{MODEL} has {len(CUT)} bytes"):
        survey(registry, SDXL, registry.resolve(SDXL, "v1"), threading.Event())


def test_who_does_not_copy_reads_it_to_check_it(index: IndexWeb) -> None:
    index.add(SDXL, "v0", {MODEL: WHOLE})
    index.add(SDXL, "v1", {MODEL: CUT})
    registry = registry_of(index)
    assert catalog(registry, SDXL, registry.resolve(SDXL, "v0"), threading.Event()).size_bytes == len(WHOLE)
    with pytest.raises(Corrupt, match=f"{MODEL} has {len(CUT)} bytes"):
        catalog(registry, SDXL, registry.resolve(SDXL, "v1"), threading.Event())


@pytest.mark.needs_docker_registry
@pytest.mark.parametrize("data", [WHOLE, CUT], ids=["whole", "cut"])
def test_what_is_packed_into_layers_is_checked_before_it_is_pushed(
    world: World, gallery: Gallery, index: IndexWeb, tmp_path: Path, sqlite_template: Path, data: bytes
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}", now=world.now)
    gallery.serve(world)
    here = site(world, state, **gallery.context(), registries={"models": registry_of(index)})
    index.add(SDXL, "v1", {MODEL: data, "config.json": b"{}"})
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    ended = here.release(release.id)
    if data is WHOLE:
        assert ended.phase is ReleasePhase.LIVE
        assert len(gallery.tags(HZ)) == 1
    else:
        assert ended.phase is ReleasePhase.STALLED
        assert f"{MODEL} has {len(CUT)} bytes" in ended.reason
        assert gallery.tags(HZ) == []
    state.close()
