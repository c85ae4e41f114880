"""The topology: bindings, targets and regions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.errors import NotFound
from syncd.plan.binding import Binding, BoundModel, ModelLocation, MountMode
from syncd.plan.topology import PLACE_GROUP, Replica, Topology
from syncd.values.function import MountKind


def binding(name: str, *models: tuple[str, str]) -> Binding:
    bound = tuple(BoundModel(model, target, MountMode.VERSION, f"/mnt/{model}") for model, target in models)
    return Binding(name, name, "f", "prod", "next", bound)


FLEET = Topology(
    bindings={
        "one": binding("one", ("sdxl", "hz"), ("team/llm", "hz")),
        "two": binding("two", ("sdxl", "sg")),
        "three": binding("three", ("sdxl", "hz")),
    },
    places={},
    regions={},
    registries={"team": ("team/*",), "all": ("sdxl", "idle")},
)


def test_a_model_is_served_by_its_bindings_in_the_order_of_the_configuration() -> None:
    assert [b.name for b in FLEET.bindings_of("sdxl")] == ["one", "two", "three"]
    assert FLEET.bindings_of("idle") == ()


def test_a_target_of_two_bindings_gets_the_bytes_once() -> None:
    assert FLEET.targets_of("sdxl") == ("hz", "sg")
    assert FLEET.groups_of("sdxl") == {PLACE_GROUP: ("hz", "sg")}


def test_a_replica_is_a_group_of_its_own_that_its_source_feeds() -> None:
    topology = replace(FLEET, replicas={"sg": Replica("hz", 60.0)})
    assert topology.targets_of("sdxl") == ("hz", "sg")
    assert topology.groups_of("sdxl") == {PLACE_GROUP: ("hz",), "replica:sg": ("sg",)}
    assert topology.feeds_of("sdxl") == {"replica:sg": "hz"}
    assert topology.feeds_of("team/llm") == {}


def test_what_a_replica_comes_from_gets_the_model_even_if_nobody_serves_it_there() -> None:
    topology = replace(FLEET, replicas={"sg": Replica("elsewhere", 60.0), "hz": Replica("elsewhere", 60.0)})
    assert topology.targets_of("sdxl") == ("elsewhere", "hz", "sg")
    assert topology.groups_of("sdxl") == {
        PLACE_GROUP: ("elsewhere",),
        "replica:hz": ("hz",),
        "replica:sg": ("sg",),
    }


def test_a_repository_that_is_replicated_is_waited_for_and_not_pushed_to() -> None:
    topology = replace(FLEET, images=frozenset({"hz", "sg"}), replicas={"sg": Replica("hz", 60.0)})
    assert topology.groups_of("sdxl") == {"replica:sg": ("sg",), "image:hz": ("hz",)}
    assert topology.feeds_of("sdxl") == {"replica:sg": "hz"}


def test_a_model_that_nobody_serves_has_no_targets() -> None:
    assert FLEET.groups_of("idle") == {}


def test_a_models_registry_is_the_first_that_selects_it() -> None:
    assert FLEET.registry_of("team/llm") == "team"
    assert FLEET.registry_of("sdxl") == "all"


def test_a_model_of_no_registry_is_said_so() -> None:
    with pytest.raises(NotFound, match="other") as caught:
        FLEET.registry_of("other")
    assert "registries" in caught.value.hint


def test_every_model_is_named_once() -> None:
    assert FLEET.models() == ("sdxl", "team/llm")


def test_a_target_of_images_is_placed_by_itself_and_leaves_no_empty_group() -> None:
    topology = replace(FLEET, images=frozenset({"sg"}))
    assert topology.groups_of("sdxl") == {PLACE_GROUP: ("hz",), "image:sg": ("sg",)}
    topology = replace(FLEET, images=frozenset({"hz", "sg"}))
    assert topology.groups_of("sdxl") == {"image:hz": ("hz",), "image:sg": ("sg",)}
    assert topology.feeds_of("sdxl") == {}


def test_the_first_registry_whose_pattern_selects_a_model_provides_it() -> None:
    ranked = {"named": ("sdxl",), "first": ("team/*", "s*"), "second": ("team/*", "l*"), "last": ("late",)}
    globs = replace(FLEET, registries=ranked)
    assert globs.registry_name("sdxl") == "named", "before a later glob"
    assert globs.registry_name("team/llm") == "first", "the first of two globs"
    assert globs.registry_name("late") == "second", "a glob before the registry that names it in full"
    assert FLEET.registry_name("nobody") is None
    assert FLEET.registry_name("idle") == "all"


def test_a_registry_provides_the_served_models_that_it_is_first_for() -> None:
    assert FLEET.models_from("team") == ("team/llm",)
    assert FLEET.models_from("all") == ("sdxl",)
    assert FLEET.models_from("unknown") == ()
    assert replace(FLEET, registries={"none": ("other",)}).models_from("none") == ()


def test_bindings_are_found_by_function_and_by_runtime() -> None:
    one = FLEET.bindings["one"]
    assert FLEET.bindings_at(one) == ("one",)
    assert FLEET.bindings_in("one") == (one,)
    assert FLEET.bindings_in("nowhere") == ()
    assert FLEET.bindings_at(replace(one, function="g")) == ()


def test_the_kind_of_storage_is_what_functions_read_through() -> None:
    places = {name: ModelLocation(MountKind.OSS, "models", "") for name in ("plain", "fast")}
    there = replace(FLEET, places=places, images=frozenset({"image"}), accelerators={"fast": 1 << 30})
    kinds = [there.storage_kind(name) for name in ("plain", "fast", "image")]
    assert kinds == ["oss", "oss with accelerator", "image"]
