"""One round through a region: what is there beside the record, and by policy what becomes of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

import structlog

from syncd.errors import Conflict, SyncdError, Unavailable
from syncd.plan.binding import Binding
from syncd.plan.drift import DriftPolicy
from syncd.plan.gate import Gates
from syncd.reconcile import mend
from syncd.reconcile.drift import compare
from syncd.reconcile.foresee import Looker
from syncd.silence import heard
from syncd.state import drifts, freezes, holds

log = structlog.get_logger("syncd.drift")

PAUSE_S: Final = 0.2  # between two bindings, each two calls: ten calls a second at most, and one at a time
_UNREACHED_MAX: Final = 3  # a region that does not answer is not asked for all of its functions


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done about drift beside recording it."""

    policy: DriftPolicy = DriftPolicy.REPORT
    gates: Gates = field(default_factory=Gates)


def patrol(looker: Looker, runtime: str, rules: Rules, stop: threading.Event, pause_s: float = PAUSE_S) -> None:
    """Compare every binding of a region with the record; by policy act. Repeating it is harmless.

    Raises:
        Unavailable: The region did not answer several times, or asks to be left alone for a while.
    """
    mend.resume(looker, runtime)
    unreached = 0
    for binding in [each for each in looker.fleet.bindings.values() if each.runtime == runtime]:
        if stop.is_set():
            return
        try:
            compare(looker, binding)
            _act(looker, binding, rules)
        except Unavailable as error:
            unreached += 1
            if unreached == _UNREACHED_MAX or error.retry_after_s:
                raise
        except SyncdError as error:
            log.warning("binding not compared", binding=binding.name, error=error.message, hint=error.hint)
        heard()
        stop.wait(pause_s)


def _act(looker: Looker, binding: Binding, rules: Rules) -> None:
    with looker.state.read() as conn:
        found = drifts.open_ones(conn, (binding.name,))
    if not found or rules.policy is DriftPolicy.REPORT:
        return
    why = _left_alone(looker, binding, rules) if rules.policy is DriftPolicy.RESTORE else ""
    if why:
        log.info("drift is left as it is", binding=binding.name, reason=why)
        return
    do = mend.restore if rules.policy is DriftPolicy.RESTORE else mend.adopt
    try:
        do(looker, binding, mend.Word("syncd", f'policy.drift = "{rules.policy}"'))
    except Conflict as refused:
        log.info("drift is left as it is", binding=binding.name, reason=refused.message)


def _left_alone(looker: Looker, binding: Binding, rules: Rules) -> str:
    """Why automation must not move this alias now: a hold, a freeze, a time of the week."""
    with looker.state.read() as conn:
        now = looker.state.now(conn)
        for model in dict.fromkeys(bound.model for bound in binding.models):
            held = holds.find(conn, model)
            if held is not None:
                return f"{model} is on hold by {held.who}: {held.why}"
            for freeze in freezes.of(conn, model, now):
                return f"frozen by {freeze.who}: {freeze.why}"
            if window := rules.gates.window(model, now):
                return f"nothing is flipped {window}"
    return ""
