"""Which queue a step waits in, and which targets one step fills."""

from __future__ import annotations

import pytest
from syncd.plan.binding import Binding, BoundModel, ModelLocation, MountMode
from syncd.plan.phases import StepKind
from syncd.plan.routing import Routing, groups, kind_of, members_of, queue_of, queues_in
from syncd.plan.topology import CONTROL_QUEUE, PLACE_GROUP, TRANSFER_QUEUE, Replica, Topology
from syncd.values.function import MountKind


def binding(name: str, runtime: str, target: str) -> Binding:
    return Binding(name, runtime, "f", "prod", "next", (BoundModel("sdxl", target, MountMode.VERSION, "/mnt/m"),))


FLEET = Topology(
    bindings={
        "draw-hz": binding("draw-hz", "hz-fc", "hz"),
        "draw-sh": binding("draw-sh", "sh-fc", "sh"),
        "draw-nas": binding("draw-nas", "sh-fc", "nas"),
        "draw-image": binding("draw-image", "hz-fc", "baked"),
        "draw-copy": binding("draw-copy", "hz-fc", "copy"),
    },
    places={
        "hz": ModelLocation(MountKind.OSS, "b-hz", ""),
        "sh": ModelLocation(MountKind.OSS, "b-sh", ""),
        "nas": ModelLocation(MountKind.NAS, "server", ""),
        "copy": ModelLocation(MountKind.OSS, "b-copy", ""),
    },
    regions={
        "hz-fc": "hangzhou", "sh-fc": "shanghai", "hz": "hangzhou", "sh": "shanghai", "nas": "shanghai",
        "baked": "hangzhou", "copy": "hangzhou",
    },
    registries={"all": ("*",)},
    images=frozenset({"baked"}),
    replicas={"copy": Replica("hz", 60.0)},
)  # fmt: skip
ALONE = {"replica:copy": ("copy",), "image:baked": ("baked",)}
NOBODY, EVERYBODY = Routing(), Routing(is_strict=True)
SHANGHAI = Routing(frozenset({"control:shanghai", "transfer:shanghai"}))  # without its NAS


def test_a_region_has_a_queue_for_calls_one_for_copies_and_one_for_each_nas() -> None:
    assert queues_in(FLEET, "shanghai") == ("control:shanghai", "transfer:shanghai", "nas:nas")
    assert queues_in(FLEET, "hangzhou") == ("control:hangzhou", "transfer:hangzhou")


def test_the_queues_of_a_region_are_of_two_kinds() -> None:
    assert [kind_of(queue) for queue in (*queues_in(FLEET, "shanghai"), CONTROL_QUEUE, TRANSFER_QUEUE)] == [
        CONTROL_QUEUE,
        TRANSFER_QUEUE,
        TRANSFER_QUEUE,
        CONTROL_QUEUE,
        TRANSFER_QUEUE,
    ]


def test_without_workers_one_step_fills_all_trees() -> None:
    assert groups(FLEET, "sdxl", NOBODY, []) == {PLACE_GROUP: ("hz", "sh", "nas")} | ALONE


def test_a_region_with_a_worker_is_filled_by_a_step_of_its_own_and_each_nas_too() -> None:
    assert groups(FLEET, "sdxl", SHANGHAI, []) == {PLACE_GROUP: ("hz", "nas"), "region:shanghai": ("sh",)} | ALONE
    strict = {"region:hangzhou": ("hz",), "region:shanghai": ("sh",), "nas:nas": ("nas",)}
    assert groups(FLEET, "sdxl", EVERYBODY, []) == strict | ALONE


def test_a_release_keeps_the_steps_that_it_has_whoever_comes_or_goes() -> None:
    whole = groups(FLEET, "sdxl", NOBODY, [])
    assert groups(FLEET, "sdxl", EVERYBODY, [PLACE_GROUP]) == whole
    split = groups(FLEET, "sdxl", SHANGHAI, [])
    assert groups(FLEET, "sdxl", NOBODY, list(split)) == split
    for group, members in split.items():
        assert members_of(FLEET, "sdxl", group, list(split)) == members
    assert members_of(FLEET, "sdxl", "nas:gone", ["nas:gone"]) == ()


@pytest.mark.parametrize(
    ("kind", "subject", "alone", "shanghai", "everybody"),
    [
        (StepKind.RESOLVE, "version", CONTROL_QUEUE, CONTROL_QUEUE, CONTROL_QUEUE),
        (StepKind.PLACE, PLACE_GROUP, TRANSFER_QUEUE, TRANSFER_QUEUE, TRANSFER_QUEUE),
        (StepKind.PLACE, "region:shanghai", TRANSFER_QUEUE, "transfer:shanghai", "transfer:shanghai"),
        (StepKind.PLACE, "nas:nas", TRANSFER_QUEUE, TRANSFER_QUEUE, "nas:nas"),
        (StepKind.PLACE, "image:baked", TRANSFER_QUEUE, TRANSFER_QUEUE, "transfer:hangzhou"),
        (StepKind.PLACE, "replica:copy", TRANSFER_QUEUE, TRANSFER_QUEUE, "transfer:hangzhou"),
        (StepKind.PLACE, "image:gone", TRANSFER_QUEUE, TRANSFER_QUEUE, TRANSFER_QUEUE),
        (StepKind.FLIP, "draw-sh", CONTROL_QUEUE, "control:shanghai", "control:shanghai"),
        (StepKind.STAGE, "draw-hz", CONTROL_QUEUE, CONTROL_QUEUE, "control:hangzhou"),
        (StepKind.UNDO, "of a binding that is configured no more", CONTROL_QUEUE, CONTROL_QUEUE, CONTROL_QUEUE),
    ],
)
def test_a_step_waits_in_the_queue_of_its_region_where_a_worker_serves_that(
    kind: StepKind, subject: str, alone: str, shanghai: str, everybody: str
) -> None:
    found = [queue_of(FLEET, kind, subject, routing) for routing in (NOBODY, SHANGHAI, EVERYBODY)]
    assert found == [alone, shanghai, everybody]
