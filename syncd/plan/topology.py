"""What serves what: the configured bindings and targets, asked by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from syncd.errors import NotFound
from syncd.plan.binding import Binding, ModelLocation
from syncd.values.patterns import selects

REGISTRY: Final = "registry"  # the one source that is not a target
NEAREST: Final = "nearest"  # among the sources, all that the others do not name, the quickest first
PLACE_GROUP: Final = "targets"
REPLICA_GROUP: Final = "replica:"  # and the target's name
IMAGE_GROUP: Final = "image:"  # likewise
CONTROL_QUEUE: Final = "control"
TRANSFER_QUEUE: Final = "transfer"


@dataclass(frozen=True, slots=True)
class Replica:
    """A target that the cloud fills from another one; syncd waits for that, this long at most."""

    source: str
    deadline_s: float


class BasePolicy(StrEnum):
    """The reaction to a base image that differs from the one that the live version is built on."""

    REPORT = "report"
    REBUILD = "rebuild"  # the same version is released again, over the new base


@dataclass(frozen=True, slots=True)
class BaseWatch:
    """How often the base image of a target is checked, and the reaction to a new one."""

    policy: BasePolicy
    every_s: float


@dataclass(frozen=True, slots=True)
class Topology:
    """The configured shape of things; never changes while a process lives."""

    bindings: Mapping[str, Binding]
    places: Mapping[str, ModelLocation]  # target -> as a function sees it
    regions: Mapping[str, str]  # target or runtime -> region
    registries: Mapping[str, tuple[str, ...]]  # registry -> names or globs of the models it provides
    sources: tuple[str, ...] = (REGISTRY,)  # what bytes are read from, by preference: targets and the registry
    replicas: Mapping[str, Replica] = field(default_factory=dict)  # target -> where its bytes come from
    images: frozenset[str] = frozenset()  # targets that are repositories of images
    watched: Mapping[str, BaseWatch] = field(default_factory=dict)  # those of them whose base is looked up again

    def bindings_of(self, model: str) -> tuple[Binding, ...]:
        """The bindings that serve the model, in the order of the configuration."""
        return tuple(b for b in self.bindings.values() if any(bound.model == model for bound in b.models))

    def needs_of(self, model: str) -> dict[str, tuple[str, ...]]:
        """For each binding that serves the model: the targets it is served from."""
        served = self.bindings_of(model)
        return {b.name: tuple(bound.target for bound in b.models if bound.model == model) for b in served}

    def region_of(self, binding: str) -> str:
        """The region in which a binding's function is; empty for one that is configured no more."""
        found = self.bindings.get(binding)
        return self.regions[found.runtime] if found else ""

    def targets_of(self, model: str) -> tuple[str, ...]:
        """The targets that must hold the model's versions, each once, and after what it is replicated from."""
        targets = [bound.target for b in self.bindings.values() for bound in b.models if bound.model == model]
        sources = [self.replicas[target].source for target in targets if target in self.replicas]
        return tuple(dict.fromkeys([*(t for t in targets if t not in self.replicas), *sources, *targets]))

    def bindings_at(self, binding: Binding) -> tuple[str, ...]:
        """The names of the bindings of one function, this one among them: they share LATEST and its versions."""
        place = (binding.runtime, binding.function)
        return tuple(name for name, other in self.bindings.items() if (other.runtime, other.function) == place)

    def groups_of(self, model: str) -> dict[str, tuple[str, ...]]:
        """Targets that one process reaches and one reading of the source feeds; each replica and image by itself."""
        targets = self.targets_of(model)
        alone = {f"{REPLICA_GROUP}{target}": (target,) for target in targets if target in self.replicas}
        baked = [target for target in targets if target in self.images and target not in self.replicas]
        alone |= {f"{IMAGE_GROUP}{target}": (target,) for target in baked}
        sent = tuple(target for target in targets if (target,) not in alone.values())
        return {**({PLACE_GROUP: sent} if sent else {}), **alone}

    def feeds_of(self, model: str) -> dict[str, str]:
        """For each group of `groups_of` that has to wait for a target: which one must be sealed before."""
        groups = self.groups_of(model)
        return {group: self.replicas[m[0]].source for group, m in groups.items() if m[0] in self.replicas}

    def registry_of(self, model: str) -> str:
        """Which registry provides the model.

        Raises:
            NotFound: None of the configured ones.
        """
        found = self.registry_name(model)
        if found is not None:
            return found
        raise NotFound(f"no registry provides the model {model!r}", hint="see `models` of [registries.*]")

    def registry_name(self, model: str) -> str | None:
        """Which registry provides the model; None where none does."""
        return next((n for n, patterns in self.registries.items() if any(selects(p, model) for p in patterns)), None)

    def models(self) -> tuple[str, ...]:
        """Every model that some binding serves."""
        return tuple(dict.fromkeys(bound.model for b in self.bindings.values() for bound in b.models))
