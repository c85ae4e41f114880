"""A source that means ill, through the whole of a release: it is refused by name, and nothing of it is written."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest
from syncd.http.client import HttpClient, HttpSettings
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.registry.settings import IndexSettings
from syncd.registry.sources.index import IndexRegistry
from syncd.state.content import versions

from tests.conformance.hostile import BAD_NAMES, bomb
from tests.emulators.web import Reply, Request
from tests.support.rooms import SDXL, Site, look
from tests.unit.registry.webs import ONCE, IndexWeb

BYTES_MAX: Final = 1 << 20
GOOD: Final = {"a/config.json": b"{}", "weights.bin": bytes(range(256)) * 200}
OUTSIDE: Final = json.dumps({"metadata": {}, "weight_map": {"a": "../../other/v1/evil.safetensors"}}).encode()
Change = Callable[[IndexWeb], None]


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def index(here: Site) -> Iterator[IndexWeb]:
    """An index whose next version somebody may spoil."""
    made = IndexWeb()
    with made.web:
        http = HttpClient(HttpSettings(made.web.origin, timeout_s=5, policy=ONCE, bytes_max=BYTES_MAX))
        here.context.registries["models"] = IndexRegistry(IndexSettings(made.url, (SDXL,)), http)  # type: ignore[index]
        yield made


def files(more: Mapping[str, bytes]) -> Change:
    return lambda index: index.add(SDXL, "v1", {**GOOD, **more})


def listed_as(change: Mapping[str, Any]) -> Change:
    """The last file stands in the index otherwise than it is."""

    def spoil(index: IndexWeb) -> None:
        index.add(SDXL, "v1", GOOD)
        index.models[SDXL]["v1"]["files"][-1].update(change)

    return spoil


def answered(path: str, reply: Callable[[], Reply]) -> Change:
    """Somebody else answers there."""

    def spoil(index: IndexWeb) -> None:
        index.add(SDXL, "v1", GOOD)

        def answer(request: Request) -> Reply | None:
            return reply() if request.path.endswith(path) else None

        index.web.faults.append(answer)

    return spoil


def metadata() -> Reply:
    return Reply(302, {"Location": "http://100.100.100.200/latest/meta-data/evil"})


SPOILED: Final[Mapping[str, tuple[Change, str]]] = {
    **{f"name: {kind}": (files(dict.fromkeys(names, b"1")), "vil") for kind, names in BAD_NAMES.items()},
    "a shard index that points outside": (files({"m.safetensors.index.json": OUTSIDE}), "evil.safetensors"),
    "a size that is too small": (listed_as({"size": 9}), "weights.bin"),
    "a size that is too large": (listed_as({"size": len(GOOD["weights.bin"]) + 1}), "weights.bin"),
    "a size below zero": (listed_as({"size": -1}), "weights.bin"),
    "a digest of something else": (listed_as({"sha256": "0" * 64}), "weights.bin"),
    "an address of the machine's metadata": (listed_as({"url": "http://169.254.169.254/evil"}), "169.254.169.254"),
    "a redirect to it": (answered("weights.bin", metadata), "100.100.100.200"),
    "a listing without end": (
        answered("index.json", lambda: Reply(200, {}, itertools.repeat(b"[" + b" " * 10_000))),
        "index.json",
    ),
    "a gzip bomb for a listing": (
        answered("index.json", lambda: Reply(200, {"Content-Encoding": "gzip"}, bomb(64 << 20))),
        "index.json",
    ),
    "a gzip bomb for a file": (
        answered("weights.bin", lambda: Reply(200, {"Content-Encoding": "gzip"}, gzip.compress(GOOD["weights.bin"]))),
        "weights.bin",
    ),
}


def written(here: Site) -> list[str]:
    """What is visible in any store."""
    return [key for store in here.world.stores.values() for key in store.objects]


@pytest.mark.parametrize(("spoil", "name"), SPOILED.values(), ids=SPOILED)
def test_it_is_refused_by_name_and_nothing_of_it_is_sealed(
    here: Site, index: IndexWeb, spoil: Change, name: str
) -> None:
    spoil(index)
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    ended = here.release(release.id)
    assert ended.phase is ReleasePhase.STALLED
    assert name in ended.reason
    assert all(character.isprintable() for character in ended.reason)
    assert not [key for key in written(here) if "vil" in key or key.endswith(("weights.bin", "manifest.json"))]
    assert here.live("draw-hz") is None


@pytest.mark.parametrize(
    "kind", ["name: leaves its directory", "name: NUL", "name: case", "a shard index that points outside"]
)
def test_what_is_bad_before_a_byte_moves_leaves_nothing_at_all_and_a_good_version_goes_on(
    here: Site, index: IndexWeb, kind: str
) -> None:
    SPOILED[kind][0](index)
    publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    assert written(here) == []
    assert not any(store.uploads for store in here.world.stores.values())
    with here.state.read() as conn:
        assert versions.find(conn, SDXL, "v1") is None
    index.add(SDXL, "v2", GOOD)
    (release,) = look(here.context, "models", auto_release=True)
    here.settle(patient=True)
    assert (here.release(release.id).ref, here.release(release.id).phase) == ("v2", ReleasePhase.LIVE)
