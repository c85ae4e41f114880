"""Costs of what the record has: storage by target, what a version adds or frees, and seconds that are not billed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Final

from syncd.artifact.names import ModelName, VersionName, parse_version
from syncd.cost.bill import EMPTY, Bill
from syncd.cost.price_list import PriceList, PriceQuestion
from syncd.cost.storage import StoredBytes, brought, stored
from syncd.errors import NotFound
from syncd.plan.phases import PlacementPhase
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.requests.operations import check_served
from syncd.state.content import placements, versions
from syncd.state.serving import load_times
from syncd.state.state import State

HELD: Final = "held"
ADDED: Final = "a release adds"
FREED: Final = "retiring frees"


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What is reckoned with: a price list, the site, the day, and the configured targets."""

    prices: PriceList
    site: str
    day: date
    topology: Topology

    def at(self, region: str) -> PriceQuestion:
        """The question for prices in a region."""
        return PriceQuestion(self.site, region, self.day)

    def cost(self, target: str, size_bytes: int, what: str) -> TargetCost:
        """What bytes at a target cost. Raises NotFound where the price list has no such region."""
        region = self.topology.regions[target]
        cache = self.topology.accelerators.get(target, 0) if what == HELD else 0  # paid for whatever is in it
        place = StoredBytes(target, self.kind(target), region, size_bytes, target in self.topology.replicas, cache)
        once = brought(self.prices, self.at(region), place) if what == ADDED else EMPTY
        return TargetCost(target, region, size_bytes, what, stored(self.prices, self.at(region), place), once)

    def kind(self, target: str) -> str:
        """oss, nas or image."""
        return "image" if target in self.topology.images else self.topology.places[target].kind.value


@dataclass(frozen=True, slots=True)
class TargetCost:
    """What bytes at one target cost each month, and once to bring them there."""

    target: str
    region: str
    size_bytes: int
    what: str
    monthly: Bill
    once: Bill

    @property
    def source(self) -> str:
        """Where the prices are from, and what they are if not the provider's own."""
        found = [
            f"{line.source}{f' ({line.label})' if line.label else ''}" for line in (self.monthly + self.once).lines
        ]
        return "; ".join(dict.fromkeys(found))

    def as_json(self) -> dict[str, object]:
        """As JSON."""
        return {
            "target": self.target,
            "region": self.region,
            "size_bytes": self.size_bytes,
            "what": self.what,
            "monthly": self.monthly.as_json(),
            "once": self.once.as_json(),
        }


def of_targets(world: World, reckoning: Reckoning, model: ModelName | None) -> list[TargetCost]:
    """What the sealed versions cost at each configured target, of one model or all.

    Raises:
        NotFound: No binding serves the model and the record has no version of it, or the price list has no such region.
    """
    with world.state.read() as conn:
        sizes = placements.sealed_bytes(conn, model)
    if model is not None and not sizes:
        check_served(world.topology, model)
    return [reckoning.cost(target, size, HELD) for target, size in sorted(sizes.items()) if target in _known(world)]


def of_version(world: World, reckoning: Reckoning, model: ModelName, version: VersionName) -> list[TargetCost]:
    """What a release of a version adds at each target that lacks it, and what retiring it frees at those that have it.

    Raises:
        NotFound: No binding serves the model, or neither the record nor the registry has the version.
        Unavailable, Invalid: As `Registry.resolve`.
    """
    with world.state.read() as conn:
        known = versions.find(conn, model, version)
        placed = placements.of_version(conn, known.id) if known else []
    sealed = {each.target for each in placed if each.phase is PlacementPhase.SEALED}
    if known is None or not sealed:
        check_served(world.topology, model)
    size_bytes = known.size_bytes if known else _size_at_registry(world, model, version)
    wanted = dict.fromkeys([*world.topology.targets_of(model), *sorted(sealed)])
    return [
        reckoning.cost(target, size_bytes, FREED if target in sealed else ADDED)
        for target in wanted
        if target in _known(world)
    ]


@dataclass(frozen=True, slots=True)
class SavedSeconds:
    """Seconds that cold starts in one region did not spend on fetching the bytes."""

    region: str
    target: str
    size_bytes: int
    starts: int
    copy_s: float

    @property
    def saved_s(self) -> float:
        """All of them."""
        return self.starts * self.copy_s

    def as_json(self) -> dict[str, object]:
        """As JSON."""
        return {
            "region": self.region,
            "target": self.target,
            "size_bytes": self.size_bytes,
            "cold_starts": self.starts,
            "copy_s": round(self.copy_s, 3),
            "saved_s": round(self.saved_s, 3),
        }


def saved(
    state: State, topology: Topology, model: ModelName, version: str, starts: int | None = None
) -> list[SavedSeconds]:
    """Cold starts times the median duration of a copy, by target; without a recorded copy a target is left out.

    `version` may be "": all versions of the model. `starts` replaces the recorded number of cold starts.

    Raises:
        NotFound: The record has no such version, or no binding serves the model.
    """
    with state.read() as conn:
        mine = versions.known(conn, model)
        if version:
            name = parse_version(version)
            mine = [each for each in mine if each.name == name]
            if not mine:
                raise NotFound(f"no version {model}@{name} in the record", hint=f"`syncd releases {model}` lists them")
        ids = {each.id for each in mine}
        copies = [each for each in placements.times(conn, model) if each.version_id in ids]
        cold = [time for each in mine for time in load_times.of_version(conn, each.id) if time.cold]
    if not mine:
        check_served(topology, model)
    return [
        _saved(
            topology.regions[target],
            target,
            [each for each in copies if each.target == target],
            [time.region for time in cold],
            starts,
        )
        for target in sorted({each.target for each in copies})
        if target in topology.regions
    ]


def _saved(
    region: str, target: str, copies: Sequence[placements.PlacementTime], cold: Sequence[str], starts: int | None
) -> SavedSeconds:
    size_bytes = round(median(each.size_bytes for each in copies))
    counted = cold.count(region) if starts is None else starts
    return SavedSeconds(region, target, size_bytes, counted, median(each.seconds for each in copies))


def _known(world: World) -> set[str]:
    """Targets that are configured: others have no region to look up."""
    return {*world.topology.places, *world.topology.images}


def _size_at_registry(world: World, model: ModelName, version: VersionName) -> int:
    registry = world.registries[world.topology.registry_of(model)]
    revision = registry.resolve(model, version)
    return sum(file.size_bytes for file in registry.listing(model, revision))
