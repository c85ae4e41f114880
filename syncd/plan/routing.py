"""Which queue a step waits in, which targets it fills where regions have workers of their own, and what goes first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from syncd.plan.phases import StepKind
from syncd.plan.topology import CONTROL_QUEUE, IMAGE_GROUP, PLACE_GROUP, REPLICA_GROUP, TRANSFER_QUEUE, Topology
from syncd.values.function import MountKind


class FleetRole(StrEnum):
    """What a process of a fleet does: decide, run steps of a region, or both alone."""

    ALL = "all"
    CONTROLLER = "controller"
    WORKER = "worker"


REGION_GROUP: Final = "region:"  # and the region's name: its targets that are reached over a network
NAS_GROUP: Final = "nas:"  # and the target's name: only who has it mounted fills it


@dataclass(frozen=True, slots=True)
class Routing:
    """The queues that workers of regions serve now. Without any, the controller runs every step itself."""

    served: frozenset[str] = frozenset()
    is_strict: bool = False  # the controller runs no step of a region: one without a worker waits for it

    def takes(self, queue: str) -> bool:
        """Whether steps of this queue are left to a worker."""
        return self.is_strict or queue in self.served


def kind_of(queue: str) -> str:
    """The controller's queue of the same kind: calls, or copies."""
    return CONTROL_QUEUE if queue.partition(":")[0] == CONTROL_QUEUE else TRANSFER_QUEUE


def queues_in(topology: Topology, region: str) -> tuple[str, ...]:
    """The queues of a region's worker: calls, copies, and one for each NAS of the region."""
    nas = [_group_of(topology, name) for name in topology.places if topology.regions[name] == region]
    return (
        f"{CONTROL_QUEUE}:{region}",
        f"{TRANSFER_QUEUE}:{region}",
        *(group for group in nas if group.startswith(NAS_GROUP)),
    )


def groups(topology: Topology, model: str, routing: Routing, begun: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """`Topology.groups_of`, with the targets of a region that has a worker in groups of their own.

    `begun` are the groups that have a step already: a release keeps them while workers come and go.
    """
    found = topology.groups_of(model)
    sent = found.pop(PLACE_GROUP, ())
    split: dict[str, list[str]] = {}
    for target in sent:
        own = _group_of(topology, target)
        is_alone = own in begun or (PLACE_GROUP not in begun and routing.takes(_home_of(topology, target)))
        split.setdefault(own if is_alone else PLACE_GROUP, []).append(target)
    return {group: tuple(members) for group, members in split.items()} | found


def members_of(topology: Topology, model: str, group: str, begun: Collection[str]) -> tuple[str, ...]:
    """The targets that a step fills. `begun` are the groups of the release's steps."""
    return groups(topology, model, Routing(), begun).get(group, ())


def queue_of(topology: Topology, kind: StepKind, subject: str, routing: Routing) -> str:
    """The queue of a step: that of the region it works in where a worker takes it, else that of the controller."""
    usual = TRANSFER_QUEUE if kind is StepKind.PLACE else CONTROL_QUEUE
    home = _home_of_step(topology, kind, subject)
    return home if home and routing.takes(home) else usual


def _home_of_step(topology: Topology, kind: StepKind, subject: str) -> str:
    if kind is StepKind.RESOLVE or subject == PLACE_GROUP:
        return ""
    if kind is not StepKind.PLACE:
        region = topology.region_of(subject)
        return f"{CONTROL_QUEUE}:{region}" if region else ""
    if subject.startswith(REGION_GROUP):
        return f"{TRANSFER_QUEUE}:{subject.removeprefix(REGION_GROUP)}"
    if subject.startswith(NAS_GROUP):
        return subject
    target = subject.removeprefix(REPLICA_GROUP).removeprefix(IMAGE_GROUP)
    return f"{TRANSFER_QUEUE}:{topology.regions[target]}" if target in topology.regions else ""


def _group_of(topology: Topology, target: str) -> str:
    if topology.places[target].kind is MountKind.NAS:
        return f"{NAS_GROUP}{target}"
    return f"{REGION_GROUP}{topology.regions[target]}"


def _home_of(topology: Topology, target: str) -> str:
    return _home_of_step(topology, StepKind.PLACE, _group_of(topology, target))


# An alias that can be moved is moved before the next one is prepared: otherwise the first of a hundred would wait
# for what the last of them needs before it.
_NEAREST_TO_THE_END: Final = (
    StepKind.UNDO,
    StepKind.FLIP,
    StepKind.WEIGH,
    StepKind.JUDGE,
    StepKind.PROBE,
    StepKind.STAGE,
    StepKind.PLACE,
    StepKind.RESOLVE,
)


def priority_of(number: int, kind: StepKind, *, back: bool) -> int:
    """The smallest goes first. `number` is the release's, `back` that it is a rollback.

    What goes back is before all else: what serves is bad. Then older releases are before newer ones, and of one the
    steps that are nearest to its end.
    """
    rank = _NEAREST_TO_THE_END.index(kind)
    return rank if back or kind is StepKind.UNDO else number * len(_NEAREST_TO_THE_END) + rank
