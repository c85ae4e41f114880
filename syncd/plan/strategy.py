"""Release strategies: waves of regions, traffic shares, pauses and requirements.

Pure: the clock is an argument. A strategy is recorded when its release begins to follow it, so that a configuration
that is changed meanwhile changes the next release only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from syncd.values.patterns import selects

WHOLE_PERCENT: Final = 100


class Requirement(StrEnum):
    """Which regions must be ready before the first alias moves."""

    ALL = "all"
    QUORUM = "quorum"  # so many of them
    PRIMARY_FIRST = "primary-first"  # those of the first wave; the others until it is their turn


class OnRegionUnavailable(StrEnum):
    """What a release does when a step in a region has stalled."""

    ABORT = "abort"  # it ends, and what has moved goes back
    WAIT = "wait"  # the step is begun again, until a deadline; then as above
    LEAVE = "leave"  # it goes on without a region that has not moved, while the requirement is met


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the requests that goes to the new version, and for how long at least."""

    percent: int  # 1 to 99
    pause_s: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One wave at one share."""

    wave: int
    percent: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a model is released. The default is: all regions at once, when all of them are ready."""

    waves: tuple[tuple[str, ...], ...] = ()  # regions, in order; those that are not named come last, together
    steps: tuple[Share, ...] = ()  # of each wave, before it is moved wholly
    bake_s: float = 0.0  # after each wave was moved wholly
    requirement: Requirement = Requirement.ALL
    quorum: int = 0
    region_out: OnRegionUnavailable = OnRegionUnavailable.ABORT
    deadline_s: float = 3600.0  # for a region that is unavailable, and for answers that do not come
    judge_samples: int = 5  # good answers required of each binding at each stage
    judge_failures_max: int = 0  # bad ones that are tolerated there
    signals: tuple[str, ...] = ()  # figures by name, none of which may be bad while a stage lasts

    def wave_of(self, region: str) -> int:
        """The wave of a region, counted from 0."""
        return next((n for n, regions in enumerate(self.waves) if region in regions), len(self.waves))

    def stages(self, waves: Iterable[int]) -> tuple[Stage, ...]:
        """Stages of a release whose bindings are in `waves`, in order."""
        return tuple(
            Stage(wave, share.percent, share.pause_s)
            for wave in sorted(set(waves))
            for share in (*self.steps, Share(WHOLE_PERCENT, self.bake_s))
        )


AT_ONCE: Final = Strategy()


@dataclass(frozen=True, slots=True)
class Strategies:
    """What the configuration says: patterns of models, each with a strategy."""

    of: tuple[tuple[tuple[str, ...], Strategy], ...] = ()

    def for_model(self, model: str) -> Strategy:
        """The first that fits; all at once where none does."""
        return next((s for patterns, s in self.of if any(selects(pattern, model) for pattern in patterns)), AT_ONCE)


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause with its recorded ends: a process that starts in the middle waits for the rest of it."""

    since: datetime
    until: datetime

    def on(self, now: datetime) -> bool:
        """Whether it is not over."""
        return now < self.until

    def overdue(self, now: datetime, deadline_s: float) -> bool:
        """Whether it has been over for longer than the deadline."""
        return now > self.until + timedelta(seconds=deadline_s)

    def by_clock(self, now: datetime) -> Pause:
        """Itself; or, where the clock was set back to before its beginning, as long a pause from now on."""
        return self if now >= self.since else Pause(now, now + (self.until - self.since))


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The progress of a release through its strategy, and everything that its next move depends on."""

    strategy: Strategy = AT_ONCE
    regions: Mapping[str, str] = field(default_factory=dict)  # binding -> region
    stage: int = 0
    paused: bool | None = None  # None: the pause of this stage has not begun
    overdue: bool = False  # the pause is over for longer than the deadline
    shares: Mapping[str, int] = field(default_factory=dict)  # binding -> percent, as intended last
    answers: Mapping[str, int] = field(default_factory=dict)  # binding -> good ones at this stage
    unsplittable: frozenset[str] = frozenset()  # bindings whose alias cannot be split: there is one version only
    expired: bool = False  # a region is unavailable for longer than the deadline
    expedited: bool = False  # everything goes back at once, not wave by wave

    def wave_of(self, binding: str) -> int:
        """The wave of a binding, counted from 0."""
        return self.strategy.wave_of(self.regions.get(binding, ""))

    def stages(self, bindings: Collection[str]) -> tuple[Stage, ...]:
        """The stages of these bindings, in order."""
        return self.strategy.stages([self.wave_of(binding) for binding in bindings])

    def primary(self, bindings: Collection[str]) -> frozenset[str]:
        """Those of the first wave that has any."""
        first = min((self.wave_of(binding) for binding in bindings), default=0)
        return frozenset(binding for binding in bindings if self.wave_of(binding) == first)

    def met(self, bindings: Collection[str], ready: Collection[str]) -> bool:
        """Whether `ready`, of all `bindings`, are enough for the requirement."""
        strategy = self.strategy
        if strategy.requirement is Requirement.PRIMARY_FIRST:
            return self.primary(bindings) <= set(ready)
        if strategy.requirement is Requirement.ALL:
            return set(bindings) <= set(ready)
        lacking = {self.regions.get(binding, "") for binding in set(bindings) - set(ready)}
        whole = {self.regions.get(binding, "") for binding in ready} - lacking
        return len(whole) >= strategy.quorum
