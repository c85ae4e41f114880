"""Drift scan of a region: compare each binding with the record, and resolve drift by policy."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Final

import structlog

from syncd.errors import Conflict, SyncdError, Unavailable
from syncd.plan.binding import Binding
from syncd.plan.drift import DriftPolicy
from syncd.plan.gate import Gates
from syncd.reconcile.context import World
from syncd.reconcile.drift import resolve
from syncd.reconcile.drift.compare import compare
from syncd.state.releases import freezes, holds
from syncd.state.serving import drifts
from syncd.watchdog import mark_progress

log = structlog.get_logger("syncd.drift")

PAUSE_S: Final = 0.2  # between two bindings of a few calls each: at most ten calls a second, while there are few
_LATE: Final = 1.1  # of the period: the last pause of a round that keeps its pace ends with the period
_UNREACHED_MAX: Final = 3  # then the rest of an unavailable region is skipped


@dataclass(frozen=True, slots=True)
class DriftRules:
    """Policy for recorded drift."""

    policy: DriftPolicy = DriftPolicy.REPORT
    gates: Gates = field(default_factory=Gates)


def scan(
    world: World,
    runtime: str,
    rules: DriftRules,
    stop: threading.Event,
    pause_s: float = PAUSE_S,
    *,
    period_s: float = math.inf,
) -> None:
    """Compare every binding of a region with the record, and resolve drift by policy. Repeating it is harmless.

    A binding begins `pause_s` after the one before it, or sooner where the round would last longer than `period_s`.
    A round that lasts longer nevertheless is reported.

    Raises:
        Unavailable: The region did not answer several times, or requests a delay.
    """
    resolve.resume(world, runtime)
    unreached, began_s, bindings = 0, time.monotonic(), world.topology.bindings_in(runtime)
    step_s = min(pause_s, period_s / max(1, len(bindings)))
    for number, binding in enumerate(bindings, 1):
        if stop.is_set():
            return
        try:
            compare(world, binding)
            _apply_policy(world, binding, rules)
        except Unavailable as error:
            unreached += 1
            if unreached == _UNREACHED_MAX or error.retry_after_s:
                raise
        except SyncdError as error:
            log.warning(
                "drift.not_compared",
                message="The binding could not be compared with the record.",
                binding=binding.name,
                error=error.message,
                hint=error.hint,
            )
        mark_progress()
        stop.wait(max(0.0, began_s + number * step_s - time.monotonic()))
    lasted_s = time.monotonic() - began_s
    if lasted_s > _LATE * period_s:
        said = "A round of drift checks lasts longer than policy.drift_poll_s; each binding is compared less often."
        log.warning(
            "drift.round_late", message=said, runtime=runtime, bindings=len(bindings), seconds=round(lasted_s, 1)
        )


def _apply_policy(world: World, binding: Binding, rules: DriftRules) -> None:
    with world.state.read() as conn:
        found = drifts.open_drifts(conn, (binding.name,))
    if not found or rules.policy is DriftPolicy.REPORT:
        return
    why = _blocked_by(world, binding, rules) if rules.policy is DriftPolicy.RESTORE else ""
    if why:
        log.info("drift.left", message="The policy does not resolve this drift now.", binding=binding.name, reason=why)
        return
    do = resolve.restore if rules.policy is DriftPolicy.RESTORE else resolve.adopt
    try:
        do(world, binding, resolve.Justification("syncd", f'policy.drift = "{rules.policy}"'))
    except Conflict as refused:
        log.info(
            "drift.left",
            message="The policy does not resolve this drift now.",
            binding=binding.name,
            reason=refused.message,
        )


def _blocked_by(world: World, binding: Binding, rules: DriftRules) -> str:
    """The reason that automation must not move this alias now: a hold, a freeze or a freeze time."""
    with world.state.read() as conn:
        now = world.state.now(conn)
        for model in dict.fromkeys(bound.model for bound in binding.models):
            held = holds.find(conn, model)
            if held is not None:
                return f"{model} is on hold by {held.who}: {held.why}"
            for freeze in freezes.of(conn, model, now):
                return f"frozen by {freeze.who}: {freeze.why}"
            if window := rules.gates.window(model, now):
                return f"nothing is flipped {window}"
    return ""
