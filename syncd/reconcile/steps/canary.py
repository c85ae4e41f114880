"""Step handlers of a staged release: shift a share of the traffic, and analyse the answers of the new version."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import structlog

from syncd.errors import Conflict, Failed, Invalid, NotYet, Refused, Unavailable
from syncd.plan.phases import FlipPhase
from syncd.plan.strategy import WHOLE_PERCENT, Pause
from syncd.reconcile import rollout as rollout_state
from syncd.reconcile.context import Attempt
from syncd.reconcile.steps.functions import flip_of, intended, location_of, probe_request, undo_stale_write
from syncd.signals.base import Subject, Verdict
from syncd.state.records import Flip
from syncd.state.releases import rollouts, steps
from syncd.state.releases.events import advance
from syncd.state.releases.rollouts import Rollout
from syncd.state.serving import flips
from syncd.values.function import AliasState

log = structlog.get_logger("syncd.canary")

ANALYSIS_INTERVAL_MAX_S: Final = 60.0  # a version that goes bad in a long pause is noticed within about a minute


def shift_traffic(job: Attempt) -> None:
    """Send the share of this stage to the new version: intent, write, outcome, as a flip does."""
    context = job.context
    binding, runtime = location_of(job)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        rollout = rollouts.find(conn, job.release.id)
        stage = rollout_state.stage_of(rollout, flips.of_release(conn, job.release.id)) if rollout else None
        if stage is None or stage.percent >= WHOLE_PERCENT:
            raise Conflict(f"{binding.name}: this stage has no traffic share")
        detail = {"percent": stage.percent}
        rollouts.record_share(conn, job.release.id, binding.name, stage.percent)
        move, to = intended(conn, job, FlipPhase.WEIGHING, detail)
    if move.from_version is None:
        raise Conflict(f"{binding.name}: the alias does not exist yet, so it cannot carry a share")
    started = time.monotonic()
    share = stage.percent / WHOLE_PERCENT
    with undo_stale_write(job, binding, runtime, AliasState(move.from_version, {to: share})):
        runtime.split(binding.function, binding.alias, to, move.from_version, share)
        with context.state.fenced(job.step.id, job.step.attempt) as conn:
            now = context.state.now(conn)
            advance(conn, move, FlipPhase.WEIGHTED, now=now, step=job.step, detail=detail)
            steps.done(conn, job.step.id, job.step.attempt, now, {"function_version": to, **detail})
    log.info(
        "traffic.shifted",
        message="The alias sends a share of the requests to the new function version.",
        function=binding.function,
        alias=binding.alias,
        function_version=to,
        percent=stage.percent,
        region=context.topology.regions[binding.runtime],
        seconds=round(time.monotonic() - started, 3),
    )


def analyze(job: Attempt) -> None:
    """Ask the new version once, count how it answered, and come again until the pause is over and enough is known.

    An answer that is wrong counts against it, and so does a figure that is bad; one too many stalls the step: the
    release goes back. That it cannot be asked proves nothing: it is asked again. A figure made of too little says
    nothing, and the answers decide.

    Raises:
        NotYet: It could not be asked.
    """
    context, binding = job.context, job.step.subject
    with context.state.read() as conn:
        before = rollouts.find(conn, job.release.id)
    wrong = _verdict(job, before, before.pause) if before is not None and before.pause is not None else ""
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = context.state.now(conn)
        rollout = rollouts.find(conn, job.release.id)
        if rollout is None or before is None or rollout.pause is None or rollout.stage != before.stage:
            steps.done(conn, job.step.id, job.step.attempt, now)  # nothing rests here any more
            return
        canary = rollouts.record_analysis(conn, rollout, binding, good=not wrong)
        strategy = rollout.strategy
        if canary.bad > strategy.judge_failures_max:
            reason = f"{canary.bad} of {canary.good + canary.bad} answers were wrong, the last one: {wrong}"
            steps.stall(conn, job.step.id, job.step.attempt, reason, _HINT, now)
        elif canary.good >= strategy.judge_samples and not rollout.pause.on(now):
            steps.done(conn, job.step.id, job.step.attempt, now, {"good": canary.good, "bad": canary.bad})
        else:
            due_at = now + timedelta(seconds=_spacing_s(rollout.pause, strategy.judge_samples))
            steps.postpone(
                conn, job.step.id, job.step.attempt, due_at=due_at, reason=wrong, failed=bool(wrong), now=now
            )
    if wrong:
        log.warning(
            "analysis.failed", message="The new function version gave a bad answer.", binding=binding, error=wrong
        )


_HINT: Final = "the new version was taken back in every region; check its answers, then publish a fixed version"


def _verdict(job: Attempt, rollout: Rollout, pause: Pause) -> str:
    """What is wrong about an answer, or about a figure; empty where both are right."""
    move = flip_of(job)
    try:
        probe_request(job, move)
        return next(_bad_figures(job, rollout, pause, move), "")
    except Failed as wrong:
        return wrong.message
    except (Unavailable, Refused, Invalid) as silent:
        wait_s = silent.retry_after_s if isinstance(silent, Unavailable) else None
        raise NotYet(silent.message, hint=silent.hint, retry_after_s=wait_s) from silent


def _bad_figures(job: Attempt, rollout: Rollout, pause: Pause, move: Flip) -> Iterator[str]:
    """Raises Unavailable, Refused, Invalid: One of them cannot be had."""
    binding, _ = location_of(job)
    with job.context.state.read() as conn:
        served_s = (job.context.state.now(conn) - pause.since).total_seconds()
    region, version = rollout.regions.get(binding.name, ""), move.to_version or ""
    subject = Subject(region, binding.function, binding.alias, version, max(served_s, 0.0))
    for name in rollout.strategy.signals:
        signal = job.context.signals.get(name)
        if signal is None:
            raise Invalid(
                f"the signal {name} is not configured any more", hint="configure it again, or cancel the release"
            )
        evidence = signal.measure(subject)
        log.info(
            "signal.read",
            message="A signal about the new function version was read.",
            binding=binding.name,
            signal=name,
            verdict=evidence.verdict.value,
            said=evidence.said,
        )
        if evidence.verdict is Verdict.BAD:
            yield f"{name}: {evidence.said}"


def _spacing_s(pause: Pause, samples: int) -> float:
    return min((pause.until - pause.since).total_seconds() / max(1, samples), ANALYSIS_INTERVAL_MAX_S)
