"""Step handlers: which function runs which kind of step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from syncd.plan.phases import StepKind
from syncd.reconcile.context import StepHandler
from syncd.reconcile.steps import canary, functions, place

STEP_HANDLERS: Final[Mapping[StepKind, StepHandler]] = {
    StepKind.RESOLVE: place.resolve,
    StepKind.PLACE: place.place,
    StepKind.STAGE: functions.stage,
    StepKind.PROBE: functions.probe,
    StepKind.WEIGH: canary.shift_traffic,
    StepKind.JUDGE: canary.analyze,
    StepKind.FLIP: functions.flip,
    StepKind.UNDO: functions.undo,
}
