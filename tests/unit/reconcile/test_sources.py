"""Where a version is read from: the registry, or a target that has it sealed, in the order that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Event

import pytest
from syncd.errors import NotFound, Unavailable
from syncd.plan.phases import ReleasePhase, StepState
from syncd.plan.topology import Replica
from syncd.reconcile.requests.operations import hold, publish, unhold
from syncd.registry.base import Registry
from syncd.registry.sources.directory import DirectoryRegistry
from syncd.state.records import Release
from syncd.state.state import State
from syncd.store.memory import MemoryStore, MemoryStream, StoredObject
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopySettings
from syncd.watchdog import note_activity

from tests.support.clouds import RawBucket, cloud_at
from tests.support.rooms import FLEET, SDXL, Site, World, site

SIZE = 100_008


class Counting:
    """A registry that counts what is opened, and can be cut off."""

    def __init__(self, inner: DirectoryRegistry) -> None:
        self._inner = inner
        self.opened: list[str] = []
        self.is_cut_off = False

    def __getattr__(self, name: str) -> object:
        if name in {"listing", "open"} and self.is_cut_off:
            raise Unavailable("the registry is over the border")
        if name == "open":
            return self._open
        return getattr(self._inner, name)

    def _open(self, *where: object, **proof: object) -> object:
        self.opened.append(str(where[2]))
        return self._inner.open(*where, **proof)  # type: ignore[arg-type]


class Broken(MemoryStore):
    """A store whose weights are read back as something else than they are."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> MemoryStream:
        if not key.endswith("weights.bin"):
            return super().open(key, offset_bytes)
        data = self.objects[key].data
        if self.how == "gone":
            raise NotFound(f"{key} is gone")
        wrong = {"flipped": bytes([data[0] ^ 1]) + data[1:], "short": data[:-1], "long": data + b"x"}
        return MemoryStream(wrong[self.how], offset_bytes)


class Scene:
    """Version v1 was live everywhere, and then Singapore lost it."""

    def __init__(self, world: World, state: State, *sources: str, registry: type[Counting] = Counting) -> None:
        self.world = world
        self.registry = registry(world.registry)
        registries: dict[str, Registry] = {"models": self.registry}  # type: ignore[dict-item]
        topology = replace(FLEET, sources=sources)
        self.site: Site = site(world, state, topology=topology, registries=registries)
        world.deliver(SDXL, "v1")
        assert self.published().phase is ReleasePhase.LIVE
        world.stores["sg"].objects.clear()
        self.registry.opened.clear()

    def published(self) -> Release:
        release = publish(self.site.requester, SDXL, "v1")
        self.site.settle()
        return self.site.release(release.id)


@pytest.fixture
def state(world: World, usual_database_url: str) -> Iterator[State]:
    state = State(usual_database_url, now=world.now)
    yield state
    state.close()


def test_by_default_the_registry_is_read(world: World, state: State) -> None:
    scene = Scene(world, state, "registry")
    assert scene.published().phase is ReleasePhase.LIVE
    assert sorted(scene.registry.opened) == ["config.json", "weights.bin"]


def test_a_sealed_target_is_read_in_place_of_the_registry(world: World, state: State) -> None:
    scene = Scene(world, state, "hz", "registry")
    assert scene.published().phase is ReleasePhase.LIVE
    assert scene.registry.opened == []
    assert world.sealed("sg").keys() == world.sealed("hz").keys()


def test_a_target_that_has_nothing_is_left_out(world: World, state: State) -> None:
    scene = Scene(world, state, "sg", "registry")
    assert scene.published().phase is ReleasePhase.LIVE
    assert sorted(scene.registry.opened) == ["config.json", "weights.bin"]


@pytest.mark.parametrize("how", ["flipped", "short", "long", "gone"])
def test_what_a_target_gives_wrong_comes_from_the_registry(world: World, state: State, how: str) -> None:
    world.stores["hz"] = Broken(how)
    scene = Scene(world, state, "hz", "registry")
    assert scene.published().phase is ReleasePhase.LIVE
    assert "weights.bin" in scene.registry.opened
    assert len(world.sealed("sg")) == 1
    assert scene.site.placements(SDXL, "v1")["sg"].progress["files_finished"] == 2


def test_a_registry_that_cannot_be_read_is_passed_over_where_a_target_can(world: World, state: State) -> None:
    scene = Scene(world, state, "registry", "hz")
    release = publish(scene.site.requester, SDXL, "v1")
    scene.site.until(ReleasePhase.PLACING, release.id)
    scene.registry.is_cut_off = True
    scene.site.settle()
    assert scene.site.release(release.id).phase is ReleasePhase.LIVE
    assert scene.registry.opened == []


def test_a_registry_that_is_the_only_source_is_waited_for(world: World, state: State) -> None:
    scene = Scene(world, state, "registry")
    release = publish(scene.site.requester, SDXL, "v1")
    scene.site.until(ReleasePhase.PLACING, release.id)
    scene.registry.is_cut_off = True
    scene.site.settle()
    step = scene.site.steps(release.id)["place/targets"]
    assert (step.state, step.reason) == (StepState.WAITING, "the registry is over the border")


def test_a_registry_that_shows_other_bytes_is_never_passed_over(world: World, state: State) -> None:
    scene = Scene(world, state, "registry", "hz")
    release = publish(scene.site.requester, SDXL, "v1")
    scene.site.until(ReleasePhase.PLACING, release.id)
    world.change(SDXL, "v1", "other bytes")
    scene.site.settle(patient=True)
    assert scene.site.release(release.id).phase is ReleasePhase.STALLED
    assert world.sealed("sg") == {}


def test_a_replica_can_be_read_too(world: World, state: State) -> None:
    topology = replace(FLEET, sources=("sg", "registry"), replicas={"sg": Replica("hz", 600.0)})
    world.deliver(SDXL, "v1")
    registry = Counting(world.registry)
    there = site(world, state, topology=topology, registries={"models": registry})
    publish(there.requester, SDXL, "v1")
    there.settle()
    replicated = {key: StoredObject(held.data, held.modified_at) for key, held in world.stores["hz"].objects.items()}
    world.stores["sg"].objects.update(replicated)
    there.settle(patient=True)
    assert len(world.sealed("sg")) == 1
    world.stores["hz"].objects.clear()
    registry.opened.clear()
    again = publish(there.requester, SDXL, "v1")
    there.settle()
    assert there.release(again.id).phase is ReleasePhase.LIVE
    assert registry.opened == []
    assert len(world.sealed("hz")) == 1


def test_between_two_buckets_the_bytes_come_from_the_other_bucket(
    world: World, state: State, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with cloud_at(tmp_path_factory.mktemp("cloud"), "cn-hangzhou", "cn-shanghai") as cloud:
        hz = RawBucket(cloud.endpoint("cn-hangzhou"))
        sg = RawBucket(cloud.endpoint("cn-shanghai"), region="cn-shanghai")
        registry = Counting(world.registry)
        there = site(
            world,
            state,
            topology=replace(FLEET, sources=("hz", "registry")),
            targets={"hz": TreeTarget("hz", hz.store()), "sg": TreeTarget("sg", sg.store())},
            registries={"models": registry},
            transfer=CopySettings(),
        )
        world.deliver(SDXL, "v1")
        publish(there.requester, SDXL, "v1")
        there.settle()
        assert sorted(registry.opened) == [
            "config.json",
            "config.json",
            "weights.bin",
            "weights.bin",
        ]  # checked, then read
        hold(there.requester, SDXL, "the functions of this test mount no buckets")
        there.settle()
        unhold(there.requester, SDXL)
        for key in sg.all_keys():
            sg.client.delete_object(key)
        cloud.counters.clear()
        registry.opened.clear()
        publish(there.requester, SDXL, "v1")
        there.settle()
        assert sg.all_keys() == hz.all_keys()
        assert registry.opened == []
        weights = [call for call in cloud.counters.calls("GetObject", hz.name) if "weights" in call.resource]
        assert sum(call.bytes_out for call in weights) == SIZE - len("sdxl v1 ")


class Far(Counting):
    """A registry that is not heard of while `border` is closed."""

    def __init__(self, inner: DirectoryRegistry) -> None:
        super().__init__(inner)
        self.border = Event()
        self.border.set()

    def _open(self, *where: object, **proof: object) -> object:
        while not self.border.wait(0.01):
            note_activity()
        return super()._open(*where, **proof)


def test_the_nearest_is_measured(world: World, state: State) -> None:
    scene = Scene(world, state, "nearest", registry=Far)
    assert isinstance(scene.registry, Far)
    scene.registry.border.clear()
    release = publish(scene.site.requester, SDXL, "v1")
    scene.site.until(ReleasePhase.LIVE, release.id)
    scene.registry.border.set()
    assert scene.registry.opened == []
    assert world.sealed("sg").keys() == world.sealed("hz").keys()


def test_the_nearest_of_one_is_the_registry(world: World, state: State) -> None:
    scene = Scene(world, state, "sg", "nearest")
    world.stores["hz"].objects.clear()
    assert scene.published().phase is ReleasePhase.LIVE
    assert {"config.json", "weights.bin"} <= set(scene.registry.opened)
