"""The strategies that a machine is run with: one of each kind, with short times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from syncd.plan.strategy import AT_ONCE, OnRegionUnavailable, Requirement, Share, Strategy

DEADLINE_S: Final = 120.0

WAYS: Final[Mapping[str, Strategy]] = {
    "at once": AT_ONCE,
    "canary": Strategy(steps=(Share(10, 20.0), Share(50, 20.0)), bake_s=20.0, judge_samples=1, deadline_s=DEADLINE_S),
    "waves": Strategy(
        waves=(("singapore",),),
        steps=(Share(10, 20.0),),
        region_out=OnRegionUnavailable.WAIT,
        judge_samples=1,
        judge_failures_max=1,
        deadline_s=DEADLINE_S,
    ),
    "quorum": Strategy(
        bake_s=20.0,
        requirement=Requirement.QUORUM,
        quorum=1,
        region_out=OnRegionUnavailable.LEAVE,
        judge_samples=1,
        deadline_s=DEADLINE_S,
    ),
    "primary first": Strategy(
        waves=(("hangzhou",),),
        steps=(Share(20, 20.0),),
        requirement=Requirement.PRIMARY_FIRST,
        region_out=OnRegionUnavailable.LEAVE,
        judge_samples=1,
        deadline_s=DEADLINE_S,
    ),
}
