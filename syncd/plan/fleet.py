"""What serves what: the configured bindings and targets, asked by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from syncd.errors import NotFound
from syncd.plan.binding import Binding, Place
from syncd.registry.selection import selects

PLACE_GROUP: Final = "targets"
CONTROL_QUEUE: Final = "control"
TRANSFER_QUEUE: Final = "transfer"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The configured shape of things; never changes while a process lives."""

    bindings: Mapping[str, Binding]
    places: Mapping[str, Place]  # target -> as a function sees it
    regions: Mapping[str, str]  # target or runtime -> region
    registries: Mapping[str, tuple[str, ...]]  # registry -> names or globs of the models it provides

    def bindings_of(self, model: str) -> tuple[Binding, ...]:
        """The bindings that serve the model, in the order of the configuration."""
        return tuple(b for b in self.bindings.values() if any(bound.model == model for bound in b.models))

    def targets_of(self, model: str) -> tuple[str, ...]:
        """The targets that must hold the model's versions, each once."""
        targets = (bound.target for b in self.bindings.values() for bound in b.models if bound.model == model)
        return tuple(dict.fromkeys(targets))

    def groups_of(self, model: str) -> dict[str, tuple[str, ...]]:
        """Targets that one process reaches and one reading of the source feeds; here all of them."""
        targets = self.targets_of(model)
        return {PLACE_GROUP: targets} if targets else {}

    def registry_of(self, model: str) -> str:
        """Which registry provides the model.

        Raises:
            NotFound: None of the configured ones.
        """
        for name, patterns in self.registries.items():
            if any(selects(pattern, model) for pattern in patterns):
                return name
        raise NotFound(f"no registry provides the model {model!r}", hint="see `models` of [registries.*]")

    def models(self) -> tuple[str, ...]:
        """Every model that some binding serves."""
        return tuple(dict.fromkeys(bound.model for b in self.bindings.values() for bound in b.models))
