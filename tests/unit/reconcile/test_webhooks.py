"""What webhooks told: each model that they name is looked at once, and no other; what names none, everything."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import ModelName
from syncd.daemon.polling import Poller
from syncd.errors import Unavailable
from syncd.reconcile.discovery.webhooks import LOCATIONS_MAX
from syncd.reconcile.requests.operations import publish
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.settings import DirectorySettings
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.state.access import deliveries
from syncd.state.content import versions
from syncd.state.records import Delivery
from syncd.values.source import Candidate, Revision

from tests.support.rooms import LORA, SDXL, Site, World


@pytest.fixture
def here(on_each: Site) -> Site:
    return on_each


class Watched(DirectoryRegistry):
    """A directory that remembers what it was asked."""

    def __init__(self, world: World) -> None:
        super().__init__(DirectorySettings(world.root, settle_s=0.0))
        self.discovered: list[str] = []
        self.resolved: list[str] = []
        self.out_of_reach: set[str] = set()

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        self.discovered.append(model or "*")
        if model in self.out_of_reach:
            raise Unavailable(f"{model} is out of reach")
        return super().discover(model, taking)

    def resolve(self, model: ModelName, ref: str, taking: FileFilter = EVERYTHING) -> Revision:
        self.resolved.append(f"{model}@{ref}")
        return super().resolve(model, ref, taking)


@pytest.fixture
def watched(here: Site, world: World) -> Watched:
    registry = Watched(world)
    here.context.registries["models"] = registry  # type: ignore[index]
    return registry


def tell(here: Site, *places: str, ref: str = "") -> None:
    with here.state.write() as conn:
        known = len(deliveries.unpolled(conn, "models"))
        told = [Delivery("hook", f"{known + n} {place}", "models", "", place, ref) for n, place in enumerate(places)]
        assert deliveries.record(conn, told, here.state.now(conn)) == len(places)


@pytest.fixture
def poller(here: Site, watched: Watched) -> Poller:
    """Made in this thread."""
    del watched  # it is there before
    return Poller(here.context, "models", 10.0, auto_release=True, start=lambda work: work())


def waits(here: Site) -> bool:
    with here.state.read() as conn:
        return deliveries.is_waiting(conn, "models")


def refs(here: Site) -> list[tuple[str, str]]:
    return [(release.model, release.ref) for release in here.all_releases()]


def published(here: Site, world: World, *names: str) -> None:
    for name in names:
        world.deliver(SDXL, name)
        publish(here.requester, SDXL, name)
        here.settle()


def test_any_number_of_deliveries_about_a_model_are_one_look_at_that_model_alone(
    here: Site, world: World, watched: Watched, poller: Poller
) -> None:
    world.deliver(SDXL, "v1")
    world.deliver(LORA, "v1")
    tell(here, *[SDXL] * 50)
    poller.poll_reported()
    assert watched.discovered == [SDXL]
    assert refs(here) == [(SDXL, "v1")]
    poller.poll_reported()
    assert not waits(here)


def test_each_model_that_is_named_is_looked_at_once_and_a_key_below_one_names_it(
    here: Site, world: World, watched: Watched, poller: Poller
) -> None:
    world.deliver(SDXL, "v2")
    world.deliver(LORA, "v1")
    tell(here, f"{SDXL}/v2/a.bin", f"{SDXL}/v2/SHA256SUMS", LORA, f"{LORA}-xl/v1/READY")
    poller.poll_reported()
    assert sorted(watched.discovered) == [LORA, SDXL]
    assert sorted(refs(here)) == [(LORA, "v1"), (SDXL, "v2")]


def test_what_names_nothing_that_is_served_is_settled_without_a_look(
    here: Site, watched: Watched, poller: Poller
) -> None:
    tell(here, "elsewhere", "library/alpine", f"{SDXL}-other", "../etc", "x" * 256)
    poller.poll_reported()
    assert watched.discovered == []
    assert not waits(here)


@pytest.mark.parametrize("places", [("", SDXL), tuple(f"m{n}" for n in range(LOCATIONS_MAX + 1))], ids=["none", "many"])
def test_what_names_no_model_or_too_many_has_everything_looked_at(
    here: Site, world: World, watched: Watched, poller: Poller, places: Sequence[str]
) -> None:
    world.deliver(LORA, "v1")
    tell(here, *places)
    poller.poll_reported()
    assert sorted(watched.discovered) == [LORA, SDXL]
    assert refs(here) == [(LORA, "v1")]
    assert not waits(here)


def test_of_what_is_known_only_the_version_that_is_named_is_compared(
    here: Site, world: World, watched: Watched, poller: Poller
) -> None:
    published(here, world, "v1", "v2")
    world.change(SDXL, "v1", "other bytes")
    watched.resolved.clear()
    tell(here, SDXL, ref="v2")
    poller.poll_reported()
    assert watched.resolved == [f"{SDXL}@v2"]
    tell(here, f"{SDXL}/v1/SHA256SUMS")
    poller.poll_reported()
    with here.state.read() as conn:
        found = versions.find(conn, SDXL, "v1")
    assert found is not None
    assert "digest" in found.quarantined


def test_where_one_delivery_names_no_version_all_of_the_model_are_compared(
    here: Site, world: World, watched: Watched, poller: Poller
) -> None:
    published(here, world, "v1", "v2")
    watched.resolved.clear()
    tell(here, SDXL, ref="v2")
    tell(here, SDXL)
    poller.poll_reported()
    assert watched.resolved == [f"{SDXL}@v1", f"{SDXL}@v2"]


def test_a_version_that_nobody_has_is_no_version_whatever_is_told(here: Site, watched: Watched, poller: Poller) -> None:
    tell(here, SDXL, ref="v9")
    poller.poll_reported()
    assert refs(here) == []
    assert watched.discovered == [SDXL]


def test_a_model_out_of_reach_keeps_no_other_from_its_look_and_is_verified_again(
    here: Site, world: World, watched: Watched, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deliver(SDXL, "v1")
    world.deliver(LORA, "v1")
    watched.out_of_reach = {SDXL}
    tell(here, SDXL, LORA)
    with capture_logs() as logs:
        poller.poll_reported()
    assert [(log["model"], log["error"]) for log in logs if log["log_level"] == "warning"] == [
        (SDXL, f"{SDXL} is out of reach")
    ]
    assert refs(here) == [(LORA, "v1")]
    assert waits(here)
    watched.out_of_reach.clear()
    later_s = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    poller.poll_reported()
    assert sorted(refs(here)) == [(LORA, "v1"), (SDXL, "v1")]
    assert not waits(here)


def test_what_names_no_model_is_settled_only_when_every_model_was_looked_at(
    here: Site, world: World, watched: Watched, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deliver(LORA, "v1")
    watched.out_of_reach = {SDXL}
    tell(here, "")
    poller.poll_reported()
    assert refs(here) == [(LORA, "v1")]
    assert waits(here)
    poller.poll_reported()
    assert watched.discovered.count(LORA) == 1
    tell(here, "")  # told again: the others are looked at again too
    poller.poll_reported()
    assert watched.discovered.count(LORA) == 2
    watched.out_of_reach.clear()
    later_s = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    poller.poll_reported()
    assert watched.discovered.count(LORA) == 2
    assert not waits(here)


def test_models_whose_names_differ_in_case_or_by_a_sign_are_told_apart(
    here: Site, watched: Watched, poller: Poller
) -> None:
    tell(here, f"{SDXL.upper()}/v1", SDXL)
    with here.state.write() as conn:
        assert deliveries.claim(conn, "models", "one", SDXL) == 1
        assert deliveries.claim(conn, "models", "one", SDXL) == 0
        assert deliveries.claim(conn, "models", "two", "sd_l") == 0
    poller.poll_reported()
    assert watched.discovered == [SDXL]
    assert not waits(here)


def test_a_look_that_was_cut_off_is_made_again(here: Site, world: World, watched: Watched, poller: Poller) -> None:
    world.deliver(SDXL, "v1")
    tell(here, SDXL)
    with here.state.write() as conn:
        assert deliveries.claim(conn, "models", "a process that was killed then") == 1
    poller.poll_reported()
    assert watched.discovered == [SDXL]
    assert refs(here) == [(SDXL, "v1")]
