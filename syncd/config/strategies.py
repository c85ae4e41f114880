"""`[[policy.strategies]]`: rollout strategies by model, and checks between their settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from syncd.config.fields import ModelPattern, Region, Seconds, SecondsOrNone, Table, shown, wrong
from syncd.config.problems import Problem, key_path
from syncd.plan.strategy import WHOLE_PERCENT, OnRegionUnavailable, Requirement, Share, Strategy

_STEP: Final = re.compile(r"([1-9]\d?)% ([1-9]\d{0,6})([smhd])|100%")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _share(value: object) -> Share:
    match = _STEP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(shown(value), 'expected a share and a time such as "10% 5m", or "100%" at the end')
    percent, count, unit = match.groups()
    return Share(int(percent), float(int(count) * _SECONDS[unit])) if percent else Share(WHOLE_PERCENT, 0.0)


Step = Annotated[Share, BeforeValidator(_share)]
Wave = Annotated[tuple[Region, ...], Field(strict=False, min_length=1)]


class StrategySettings(Table):
    """Rollout strategy of some models."""

    models: Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)]
    waves: Annotated[tuple[Wave, ...], Field(strict=False)] = ()  # regions, in order; others form the last
    steps: Annotated[tuple[Step, ...], Field(strict=False)] = ()  # stages of each wave; 100 % follows
    bake_s: SecondsOrNone = 0.0  # after each wave has moved
    requirement: Literal["all", "quorum", "primary-first"] = "all"
    quorum: Annotated[int, Field(ge=0, le=1000)] = 0  # number of regions, if the requirement is "quorum"
    region_out: Literal["abort", "wait", "leave"] = "abort"
    deadline_s: Seconds = 3600.0  # for an unavailable region, and for missing answers
    judge_samples: Annotated[int, Field(ge=1, le=1000)] = 5  # good answers required of each binding at each stage
    judge_failures_max: Annotated[int, Field(ge=0, le=1000)] = 0  # wrong answers that are tolerated there
    signals: Annotated[tuple[str, ...], Field(strict=False)] = ()  # signals by name, none of which may be bad

    @property
    def strategy(self) -> Strategy:
        """The values for the plan package."""
        return Strategy(
            waves=self.waves,
            steps=tuple(step for step in self.steps if step.percent < WHOLE_PERCENT),
            bake_s=self.bake_s,
            requirement=Requirement(self.requirement),
            quorum=self.quorum,
            region_out=OnRegionUnavailable(self.region_out),
            deadline_s=self.deadline_s,
            judge_samples=self.judge_samples,
            judge_failures_max=self.judge_failures_max,
            signals=self.signals,
        )


def strategy_problems(strategies: Sequence[StrategySettings], regions: frozenset[str]) -> Iterator[Problem]:
    """Every problem between the settings of a strategy. `regions` are those of the runtimes."""
    for n, each in enumerate(strategies):
        for setting, found, advice in (*_ways(each, regions), *_requirements(each, regions)):
            yield Problem(key_path("policy", "strategies", n, setting), found, advice)


def _ways(each: StrategySettings, regions: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    percents = [step.percent for step in each.steps]
    if any(before >= after for before, after in pairwise(percents)):
        advice = "expected each share to be larger than the one before it"
        yield "steps", shown([f"{percent}%" for percent in percents]), advice
    named = list(chain.from_iterable(each.waves))
    for region in sorted({region for region in named if named.count(region) > 1}):
        yield "waves", shown(region), "a region can be in one wave only"
    for region in sorted(set(named) - regions):
        yield "waves", shown(region), f"no runtime is there; regions with one: {', '.join(sorted(regions)) or 'none'}"


def _requirements(each: StrategySettings, regions: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    is_quorum = each.requirement == "quorum"
    if is_quorum and not 1 <= each.quorum <= len(regions):
        yield "quorum", str(each.quorum), f"expected 1 to {len(regions)} regions with this requirement"
    if not is_quorum and each.quorum:
        yield "quorum", str(each.quorum), 'leave it out, or set requirement = "quorum"'
    if is_quorum and each.region_out != "leave":
        advice = 'a quorum lets a release continue without the other regions: use region_out = "leave"'
        yield "region_out", shown(each.region_out), advice
    if each.region_out == "leave" and each.requirement == "all":
        yield (
            "region_out",
            '"leave"',
            'with requirement = "all" no region can be left behind: use "quorum" or "primary-first"',
        )
    if each.requirement == "primary-first" and not each.waves:
        yield "waves", "none", "the first wave says which regions are the primary ones"
