"""Looking at a registry: what is new is wished for, what changed is quarantined."""

from __future__ import annotations

import os
import shutil

import pytest
from structlog.testing import capture_logs
from syncd.errors import Unavailable
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests.operations import hold, publish
from syncd.state.content import versions

from tests.support.rooms import FLEET, LORA, SDXL, Site, World, look
from tests.unit.registry.trees import THEN_S, write


def wished(here: Site) -> list[tuple[str, str]]:
    return [(release.model, release.ref) for release in look(here.context, "models", auto_release=True)]


def quarantined(here: Site, model: str, version: str) -> str:
    with here.state.read() as conn:
        found = versions.find(conn, model, version)
    assert found is not None
    return found.quarantined


def test_only_the_newest_version_is_requested(here: Site, world: World) -> None:
    for version in ("v1", "v2", "v3"):
        world.deliver(SDXL, version)
    world.deliver(LORA, "v1")
    assert sorted(wished(here)) == [(LORA, "v1"), (SDXL, "v3")]
    assert here.context.wake.is_set()


def test_polling_again_requests_nothing(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    assert wished(here)
    assert wished(here) == []
    here.settle()
    here.context.wake.clear()
    assert wished(here) == []
    assert not here.context.wake.is_set()


def test_polling_alone_brings_a_version_live(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    (release,) = look(here.context, "models", auto_release=True)
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE


def test_nothing_is_requested_where_people_release(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    assert look(here.context, "models", auto_release=False) == []


def test_a_held_model_and_one_that_nobody_serves_are_passed_over(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    world.deliver("other", "v1")
    hold(here.requester, SDXL, "why")
    assert wished(here) == []


def test_a_model_of_another_registry_is_left_to_that_one(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    topology = type(FLEET)(FLEET.bindings, FLEET.places, FLEET.regions, {"two": ("*",)})
    object.__setattr__(here.context, "topology", topology)
    assert wished(here) == []


def test_other_bytes_that_are_no_model_are_quarantined_too(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    wished(here)
    here.settle()
    (world.root / SDXL / "v1" / "SHA256SUMS").unlink()
    world.deliver(SDXL, "v1", more={"model.safetensors": b"<html>Please log in</html>"})
    assert wished(here) == []
    assert "digest" in quarantined(here, SDXL, "v1")


def test_other_bytes_under_a_published_version_are_quarantined_and_never_followed(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    here.settle()
    served = here.digest(SDXL, "v1")
    world.change(SDXL, "v1", "other bytes")
    for _ in range(2):
        assert wished(here) == []
    assert "digest" in quarantined(here, SDXL, "v1")
    assert [event.kind for event in here.events()].count("version.quarantined") == 1
    here.settle()
    assert here.world.serves("singapore") == [served]
    here.assert_record_is_true()


def test_the_same_bytes_newly_written_are_pinned_again(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    here.settle()
    with here.state.read() as conn:
        before = versions.find(conn, SDXL, "v1")
    weights = world.root / SDXL / "v1" / "weights.bin"
    write(weights.parent, {"weights.bin": weights.read_bytes()}, THEN_S + 500)
    listed = weights.with_name("SHA256SUMS")
    listed.write_text(listed.read_text() + "\n")
    os.utime(listed, (THEN_S + 600, THEN_S + 600))
    look(here.context, "models", auto_release=True)
    assert quarantined(here, SDXL, "v1") == ""
    with here.state.read() as conn:
        after = versions.find(conn, SDXL, "v1")
    assert before is not None
    assert after is not None
    assert after.digest == before.digest
    assert look(here.context, "models", auto_release=True) == []


def test_a_registry_that_cannot_be_read_says_so_and_nothing_is_known(here: Site, world: World) -> None:
    world.root.rename(world.root.with_name("elsewhere"))
    with pytest.raises(Unavailable):
        look(here.context, "models", auto_release=True)


def test_one_version_that_cannot_be_looked_at_hides_no_other(here: Site, world: World) -> None:
    world.deliver(LORA, "v1")
    publish(here.requester, LORA, "v1")
    here.settle()
    world.deliver(SDXL, "v1")
    bad = world.root / LORA / "v1"
    discovered = here.context.registries["models"].discover()
    assert len(discovered) == 2
    (bad / "weights.bin").rename(bad / "weights.gone")
    assert (SDXL, "v1") in wished(here)


def test_a_published_version_that_is_no_longer_whole_is_logged_and_a_deleted_one_is_not(
    here: Site, world: World
) -> None:
    for version in ("v1", "v2"):
        world.deliver(SDXL, version)
        publish(here.requester, SDXL, version)
        here.settle()
    shutil.rmtree(world.root / SDXL / "v1")
    (world.root / SDXL / "v2" / "config.json").unlink()
    with capture_logs() as logs:
        assert wished(here) == []
    assert [(log["version"], "no longer complete" in log["error"]) for log in logs] == [("v2", True)]
    write(world.root / SDXL / "v2", {"config.json": b"other"}, THEN_S + 900)
    assert wished(here) == []
    assert "digest" in quarantined(here, SDXL, "v2")
    assert quarantined(here, SDXL, "v1") == ""
