"""Step handlers of functions: stage, probe, flip, undo. Each reads before it writes, and reads back after it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import structlog
from sqlalchemy import Connection

from syncd.errors import Cancelled, Conflict, NotFound, SyncdError
from syncd.plan.binding import Binding, ProofGrade, change_for
from syncd.plan.phases import FlipPhase, ReleasePhase, may_transition
from syncd.plan.strategy import WHOLE_PERCENT
from syncd.plan.topology import Topology
from syncd.reconcile.context import Attempt
from syncd.reconcile.steps import prewarm, stale_writes
from syncd.reconcile.steps.carried_models import (
    bases_of,
    carried_by,
    digest_of,
    leftovers,
    servings,
    staged_for,
)
from syncd.reconcile.steps.proofs import proof_request, record_proof
from syncd.reconcile.views import cold_starts
from syncd.runtime.base import Runtime
from syncd.state.content import base_images, versions
from syncd.state.records import Flip, FunctionVersion, Live
from syncd.state.releases import events, releases, rollouts, steps
from syncd.state.releases.events import advance
from syncd.state.serving import flips, live
from syncd.values.function import AliasState, ProbeReport

log = structlog.get_logger("syncd.release")


def stage(job: Attempt) -> None:
    """Have a function version published that carries this release's version beside what the alias serves already."""
    context, release = job.context, job.release
    binding, runtime = location_of(job)
    with context.state.read() as conn:
        recorded = live.get(conn, binding.name)
    # A rollback has no time for this call: its flip reads the alias, and `_found_elsewhere` does the rest.
    is_assumed = release.rollback and recorded is not None and recorded.function_version is not None
    there = recorded.function_version if recorded and is_assumed else None
    pointed = AliasState(there) if is_assumed else runtime.read(binding.function, binding.alias)
    with context.state.read() as conn:
        bound = {model.model for model in binding.models}
        models = recorded.models if recorded else {}
        served = {model: version for model, version in models.items() if model in bound}
        serves = {**served, release.model: release.version_id or ""}
        bases = bases_of(conn, job, binding, served)
        over = {(each.version_id, each.target): each.digest for each in bases}
        change = change_for(binding, context.topology.places, servings(conn, serves, over))
        known = staged_for(conn, binding, serves, over)
        others = leftovers(conn, context.topology, binding, serves)
    started = time.monotonic()
    staged = runtime.stage(
        binding.function,
        others.replaced_in(change, runtime, pointed.function_version),
        f"syncd {release.id} {binding.alias}",
        known=known if release.rollback else (),  # forward, the function's own newest settings are wanted
        waiting=job.waiting,
    )
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = context.state.now(conn)
        if recorded and pointed != AliasState(recorded.function_version):
            detail: dict[str, object] = {"alias": str(pointed), "record": recorded.function_version}
            events.append(conn, "binding.drifted", now=now, release_id=release.id, subject=binding.name, detail=detail)
        if not staged.reused:
            live.forget_renumbered(conn, context.topology.bindings_at(binding), staged.function_version)
        carried = FunctionVersion(binding.name, staged.function_version, serves, digest_of(change), release.id, now)
        live.note_function_version(conn, carried)
        for each in bases:
            base_images.note(conn, each)
        flip = flips.get(conn, release.id, binding.name)
        flip = flips.note_staged(
            conn,
            flip,
            to_version=staged.function_version,
            from_version=pointed.function_version,
            served=_served_at(conn, context.topology, binding, pointed, recorded),
            serves=serves,
            now=now,
        )
        advance(conn, flip, FlipPhase.STAGED, now=now, step=job.step)
        detail = {"function_version": staged.function_version, "reused": staged.reused}
        steps.done(conn, job.step.id, job.step.attempt, now, detail)
    log.info(
        "function_version.staged",
        message="A function version carries the model version.",
        function=binding.function,
        function_version=staged.function_version,
        reused=staged.reused,
        region=context.topology.regions[binding.runtime],
        seconds=round(time.monotonic() - started, 3),
    )


def probe(job: Attempt) -> None:
    """Ask the staged version, through the candidate alias, for the digests it serves and all else it must answer."""
    context = job.context
    binding, runtime = location_of(job)
    flip = flip_of(job)
    held = prewarm.prewarm(job, binding, runtime, flip.to_version or "")
    ready_s = prewarm.ready_s(job, binding) if held else None
    report = probe_request(job, flip, binding.proof)
    if not job.release.rollback:  # two calls for a warning: a rollback has no time for them
        prewarm.note_scaling(job, binding, runtime, flip)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = context.state.now(conn)
        advance(conn, flips.get(conn, job.release.id, binding.name), FlipPhase.PROBED, now=now, step=job.step)
        cold_starts.record(conn, job, flip, report, warm=held, ready_s=ready_s)
        if binding.proof is not ProofGrade.NONE:
            record_proof(conn, job, binding, flip)
        steps.done(conn, job.step.id, job.step.attempt, now, {"seconds": round(report.seconds, 3)})
    log.info(
        "function_version.probed",
        message="The staged function version answered with its digests.",
        function=binding.function,
        function_version=flip.to_version,
        seconds=round(report.seconds, 3),
        region=context.topology.regions[binding.runtime],
    )


def probe_request(job: Attempt, flip: Flip, grade: ProofGrade = ProofGrade.SAMPLE) -> ProbeReport:
    """Probe the new function version of a flip: before the flip, and in each analysis.

    A binding that asks for proofs gets one of this grade.

    Raises as `Runtime.probe` does.
    """
    binding, runtime = location_of(job)
    with job.context.state.read() as conn:
        digests = [versions.get(conn, version_id).digest for version_id in flip.serves.values()]
    request, version = binding.probe(digests), flip.to_version or ""
    proof = proof_request(job, binding, flip, grade if binding.proof is not ProofGrade.NONE else ProofGrade.NONE)
    if proof is not None:
        request = replace(request, golden=(*request.golden, proof))
    candidate = version if job.release.rollback else binding.candidate  # nothing waits behind a rollback's candidate
    return runtime.probe(binding.function, candidate, version, request, job.waiting)


def flip(job: Attempt) -> None:
    """Move the alias: the intent is committed first, the outcome with its event after it was read back."""
    context = job.context
    binding, runtime = location_of(job)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        move, to = intended(conn, job, FlipPhase.INTENDED)
    if binding.warmth is not None:
        prewarm.keep_previous(job, binding, runtime, move)
    started = time.monotonic()
    with undo_stale_write(job, binding, runtime, AliasState(to)):
        try:
            runtime.flip(binding.function, binding.alias, to, move.from_version)
        except Conflict as elsewhere:
            if not job.release.rollback:
                raise
            move = _found_elsewhere(job, binding, move, runtime.read(binding.function, binding.alias), elsewhere)
            runtime.flip(binding.function, binding.alias, to, move.from_version)
        with context.state.fenced(job.step.id, job.step.attempt) as conn:
            now = context.state.now(conn)
            advance(conn, move, FlipPhase.FLIPPED, now=now, step=job.step)
            live.record(conn, binding.name, to, move.serves, job.release.id, now)
            steps.done(conn, job.step.id, job.step.attempt, now, {"function_version": to})
    log.info(
        "alias.flipped",
        message="The alias points at the new function version.",
        function=binding.function,
        alias=binding.alias,
        function_version=to,
        region=context.topology.regions[binding.runtime],
        seconds=round(time.monotonic() - started, 3),
    )


@contextmanager
def undo_stale_write(job: Attempt, binding: Binding, runtime: Runtime, written: AliasState) -> Iterator[None]:
    """Guard the write of an alias and its record: where the lease was lost meanwhile, `written` is taken back."""
    try:
        yield
    except Conflict:
        raise  # the alias pointed elsewhere: nothing was written
    except SyncdError:
        stale_writes.take_back(job, binding, runtime, written)
        raise


def _found_elsewhere(job: Attempt, binding: Binding, move: Flip, pointed: AliasState, refusal: Conflict) -> Flip:
    """Have a rollback leave from where its alias points: its stage took the record's word for that.

    It does so once, as a stage that reads the alias would. Raises `refusal` where the alias was moved since.
    """
    with job.context.state.fenced(job.step.id, job.step.attempt) as conn:
        now, recorded = job.context.state.now(conn), live.get(conn, binding.name)
        known = recorded.function_version if recorded else None
        if move.from_version != known or pointed.function_version in {known, move.to_version}:
            raise refusal
        detail: dict[str, object] = {"alias": str(pointed), "record": known}
        events.append(conn, "binding.drifted", now=now, release_id=job.release.id, subject=binding.name, detail=detail)
        return flips.note_staged(
            conn,
            move,
            to_version=move.to_version or "",
            from_version=pointed.function_version,
            served=_served_at(conn, job.context.topology, binding, pointed, recorded),
            serves=move.serves,
            now=now,
        )


def _served_at(
    conn: Connection, topology: Topology, binding: Binding, pointed: AliasState, recorded: Live | None
) -> dict[str, str]:
    """The models that an undo returns to: others may have moved the alias, and then it is not what is recorded.

    Empty if the alias points at a function version that syncd did not stage: nobody knows what that carries.
    """
    bound, models = {model.model for model in binding.models}, recorded.models if recorded else {}
    if recorded and pointed.function_version not in {None, recorded.function_version}:
        siblings = topology.bindings_at(binding)
        found = (live.function_version(conn, name, pointed.function_version) for name in siblings)
        models = next((each.models for each in found if each is not None), {})
    return {model: version for model, version in models.items() if model in bound}


def intended(
    conn: Connection, job: Attempt, phase: FlipPhase, detail: Mapping[str, object] | None = None
) -> tuple[Flip, str]:
    """Say that the alias is about to be touched, and give the flip and the version it is about.

    Raises:
        Cancelled: The release does not want it any more.
        Conflict: The flip is in no phase from which this may follow.
    """
    if releases.get(conn, job.release.id).phase is not ReleasePhase.FLIPPING:
        raise Cancelled("the release is being undone")
    move = flips.get(conn, job.release.id, job.step.subject)
    if may_transition(move.phase, phase):
        move = advance(conn, move, phase, now=job.context.state.now(conn), step=job.step, detail=detail)
    if move.phase is not phase or move.to_version is None:
        raise Conflict(f"{move.binding}: the flip is {move.phase}, not {phase}")
    return move, move.to_version


def undo(job: Attempt) -> None:
    """Move the alias back to where it was before this release; repeated until it is there."""
    context = job.context
    binding, runtime = location_of(job)
    move = flip_of(job)
    _report_overwritten(job, move, runtime.read(binding.function, binding.alias))
    started = time.monotonic()
    back = move.from_version
    try:
        _undone(job, move, back)
    except NotFound:  # it was deleted meanwhile
        if back is None:
            raise
        back = _staged_again(job, move)
        _undone(job, move, back)
    log.info(
        "alias.restored",
        message="The alias points at the function version before this release again.",
        function=binding.function,
        alias=binding.alias,
        function_version=back,
        region=context.topology.regions[binding.runtime],
        seconds=round(time.monotonic() - started, 3),
    )


def _undone(job: Attempt, move: Flip, to: str | None) -> None:
    context = job.context
    binding, runtime = location_of(job)
    with undo_stale_write(job, binding, runtime, AliasState(to)):
        runtime.flip(binding.function, binding.alias, to, move.to_version)
        with context.state.fenced(job.step.id, job.step.attempt) as conn:
            now = context.state.now(conn)
            advance(conn, move, FlipPhase.UNDONE, now=now, step=job.step)
            live.record(conn, binding.name, to, move.served, job.release.id, now)
            steps.done(conn, job.step.id, job.step.attempt, now, {"function_version": to})


def _staged_again(job: Attempt, move: Flip) -> str:
    """Stage what served before a flip, where its function version was deleted. Raises as `Runtime.stage` does."""
    context = job.context
    binding, runtime = location_of(job)
    with context.state.read() as conn:
        again = carried_by(conn, context.topology, binding, move.from_version, move.served)
    token = f"syncd {job.release.id} {binding.alias} undo"
    staged = runtime.stage(binding.function, again.change, token, known=again.known, waiting=job.waiting)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        again.note(conn, staged.function_version, context.state.now(conn))
    return staged.function_version


def _report_overwritten(job: Attempt, move: Flip, pointed: AliasState) -> None:
    """Report traffic shares that others set and that the undo removes; before it, since a crash would forget them."""
    if not pointed.weights or pointed.function_version not in {move.from_version, move.to_version}:
        return  # whole; or at a third version, and not touched
    context = job.context
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        rollout = rollouts.find(conn, job.release.id)
        mine = [step.percent / WHOLE_PERCENT for step in rollout.strategy.steps] if rollout else []
        if any(AliasState(move.from_version, {move.to_version or "": share}).is_like(pointed) for share in mine):
            return
        detail: dict[str, object] = {"got": str(pointed), "want": move.from_version}
        now = context.state.now(conn)
        events.append(
            conn, "binding.overwritten", now=now, release_id=job.release.id, subject=move.binding, detail=detail
        )
    log.warning(
        "alias.weights_overwritten",
        message="Traffic weights that another tool set on the alias are removed with the undo.",
        binding=move.binding,
        got=str(pointed),
        want=move.from_version,
    )


def location_of(job: Attempt) -> tuple[Binding, Runtime]:
    """The binding that a step is about, and its runtime."""
    binding = job.context.topology.bindings[job.step.subject]
    return binding, job.context.runtimes[binding.runtime]


def flip_of(job: Attempt) -> Flip:
    """The flip that a step is about."""
    with job.context.state.read() as conn:
        return flips.get(conn, job.release.id, job.step.subject)
