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
class _Index:
    """The bindings by model, by function and by runtime, and the registries by model."""

    by_model: dict[str, tuple[Binding, ...]]
    by_function: dict[tuple[str, str], tuple[str, ...]]
    by_runtime: dict[str, tuple[Binding, ...]]
    named: dict[str, int]  # a model that registries name in full -> the place of the first one
    globs: list[tuple[int, str, str]]  # place, registry and pattern
    registries: tuple[str, ...]
    served: dict[str, tuple[str, ...]]  # registry -> models; filled when first asked for

    @classmethod
    def of(cls, bindings: Mapping[str, Binding], registries: Mapping[str, tuple[str, ...]]) -> _Index:
        by_model: dict[str, dict[str, Binding]] = {}
        by_function: dict[tuple[str, str], list[str]] = {}
        by_runtime: dict[str, list[Binding]] = {}
        for name, binding in bindings.items():
            by_function.setdefault((binding.runtime, binding.function), []).append(name)
            by_runtime.setdefault(binding.runtime, []).append(binding)
            for bound in binding.models:
                by_model.setdefault(bound.model, {})[name] = binding
        named: dict[str, int] = {}
        globs: list[tuple[int, str, str]] = []
        for place, (registry, patterns) in enumerate(registries.items()):
            for pattern in patterns:
                if "*" in pattern:
                    globs.append((place, registry, pattern))
                else:
                    named.setdefault(pattern, place)
        return cls(
            {model: tuple(found.values()) for model, found in by_model.items()},
            {function: tuple(names) for function, names in by_function.items()},
            {runtime: tuple(found) for runtime, found in by_runtime.items()},
            named,
            globs,
            tuple(registries),
            {},
        )

    def provider_of(self, model: str) -> str | None:
        """The first registry with a pattern that selects the model."""
        at = self.named.get(model, len(self.registries))
        for place, registry, pattern in self.globs:
            if place >= at:
                break
            if selects(pattern, model):
                return registry
        return self.registries[at] if at < len(self.registries) else None

    def models_from(self, registry: str) -> tuple[str, ...]:
        """The served models of a registry, found once for all registries."""
        if not self.served:
            found: dict[str, list[str]] = {name: [] for name in self.registries}
            for model in self.by_model:
                provider = self.provider_of(model)
                if provider is not None:
                    found[provider].append(model)
            self.served.update({name: tuple(models) for name, models in found.items()})
        return self.served.get(registry, ())


@dataclass(frozen=True, slots=True)
class Topology:
    """The configured shape of things; never changes while a process lives.

    What is asked by model or function is answered from an index that is built once, with the topology.
    """

    bindings: Mapping[str, Binding]
    places: Mapping[str, ModelLocation]  # target -> as a function sees it
    regions: Mapping[str, str]  # target or runtime -> region
    registries: Mapping[str, tuple[str, ...]]  # registry -> names or globs of the models it provides
    sources: tuple[str, ...] = (REGISTRY,)  # what bytes are read from, by preference: targets and the registry
    replicas: Mapping[str, Replica] = field(default_factory=dict)  # target -> where its bytes come from
    accelerators: Mapping[str, int] = field(default_factory=dict)  # target -> capacity of its accelerator in bytes
    images: frozenset[str] = frozenset()  # targets that are repositories of images
    watched: Mapping[str, BaseWatch] = field(default_factory=dict)  # those of them whose base is looked up again
    _index: _Index = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the index; the rest is frozen, so it stays true."""
        object.__setattr__(self, "_index", _Index.of(self.bindings, self.registries))

    def storage_kind(self, target: str) -> str:
        """What functions read the target through: "image", "nas", "oss", or "oss with accelerator"."""
        if target in self.images:
            return "image"
        return "oss with accelerator" if target in self.accelerators else self.places[target].kind.value

    def bindings_of(self, model: str) -> tuple[Binding, ...]:
        """The bindings that serve the model, in the order of the configuration."""
        return self._index.by_model.get(model, ())

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
        targets = [bound.target for b in self.bindings_of(model) for bound in b.models if bound.model == model]
        sources = [self.replicas[target].source for target in targets if target in self.replicas]
        return tuple(dict.fromkeys([*(t for t in targets if t not in self.replicas), *sources, *targets]))

    def bindings_at(self, binding: Binding) -> tuple[str, ...]:
        """The names of the bindings of one function, this one among them: they share LATEST and its versions."""
        return self._index.by_function.get((binding.runtime, binding.function), ())

    def bindings_in(self, runtime: str) -> tuple[Binding, ...]:
        """The bindings whose functions one runtime has, in the order of the configuration."""
        return self._index.by_runtime.get(runtime, ())

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
        return self._index.provider_of(model)

    def models(self) -> tuple[str, ...]:
        """Every model that some binding serves."""
        return tuple(self._index.by_model)

    def models_from(self, registry: str) -> tuple[str, ...]:
        """Every model that some binding serves and that this registry provides."""
        return self._index.models_from(registry)
