"""The bodies that move functions: stage, probe, flip, undo. Each looks before it acts and reads back after."""

from __future__ import annotations

import hashlib
import json
import time

import structlog

from syncd.errors import Cancelled, Conflict
from syncd.plan.binding import Binding, Serving, change_for
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.reconcile import times, warm
from syncd.reconcile.run import Job
from syncd.runtime.base import Change, ProbeReport, Runtime
from syncd.state import events, flips, live, releases, steps, versions
from syncd.state.advance import advance
from syncd.state.records import Flip, FunctionVersion

log = structlog.get_logger("syncd.release")


def stage(job: Job) -> None:
    """Have a function version published that carries this release's version beside what the alias serves already."""
    rooms, release = job.rooms, job.release
    binding, runtime = _where(job)
    pointed = runtime.read(binding.function, binding.alias)
    with rooms.state.read() as conn:
        recorded = live.get(conn, binding.name)
        bound = {model.model for model in binding.models}
        models = recorded.models if recorded else {}
        served = {model: version for model, version in models.items() if model in bound}
        serves = {**served, release.model: release.version_id or ""}
        change = change_for(binding, rooms.fleet.places, _servings(job, serves))
        known = [v.function_version for v in live.function_versions(conn, binding.name) if dict(v.models) == serves]
    started = time.monotonic()
    staged = runtime.stage(
        binding.function,
        change,
        f"syncd {release.id} {binding.alias}",
        known=known if release.rollback else (),  # forward, the function's own newest settings are wanted
        waiting=job.waiting,
    )
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        now = rooms.state.now(conn)
        if recorded and pointed.function_version != recorded.function_version:
            detail: dict[str, object] = {"alias": pointed.function_version, "record": recorded.function_version}
            events.append(conn, "binding.drifted", now=now, release_id=release.id, subject=binding.name, detail=detail)
        carried = FunctionVersion(binding.name, staged.function_version, serves, _digest(change), release.id, now)
        live.note_function_version(conn, carried)
        flip = flips.get(conn, release.id, binding.name)
        flip = flips.note_staged(
            conn,
            flip,
            to_version=staged.function_version,
            from_version=pointed.function_version,
            served=served,
            serves=serves,
            now=now,
        )
        advance(conn, flip, FlipPhase.STAGED, now=now, step=job.step)
        detail = {"function_version": staged.function_version, "reused": staged.reused}
        steps.done(conn, job.step.id, job.step.attempt, now, detail)
    log.info("staged", function=binding.function, function_version=staged.function_version, reused=staged.reused,
             region=rooms.fleet.regions[binding.runtime], seconds=round(time.monotonic() - started, 3))  # fmt: skip


def probe(job: Job) -> None:
    """Ask the staged version, through the candidate alias, for the digests it serves and all else it must answer."""
    rooms = job.rooms
    binding, runtime = _where(job)
    flip = _flip_of(job)
    held = warm.held_ready(job, binding, runtime, flip.to_version or "")
    report = asked(job, flip)
    warm.note_scaling(job, binding, runtime)
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        now = rooms.state.now(conn)
        advance(conn, flips.get(conn, job.release.id, binding.name), FlipPhase.PROBED, now=now, step=job.step)
        times.note(conn, job, flip, report, warm=held)
        steps.done(conn, job.step.id, job.step.attempt, now, {"seconds": round(report.seconds, 3)})
    log.info("probed", function=binding.function, function_version=flip.to_version, seconds=round(report.seconds, 3),
             region=rooms.fleet.regions[binding.runtime])  # fmt: skip


def asked(job: Job, flip: Flip) -> ProbeReport:
    """Have the new function version of a flip prove itself, as often as wanted: to probe it, and to judge it later.

    Raises as `Runtime.probe` does.
    """
    binding, runtime = _where(job)
    with job.rooms.state.read() as conn:
        digests = [versions.get(conn, version_id).digest for version_id in flip.serves.values()]
    request = binding.probe(digests)
    return runtime.probe(binding.function, binding.candidate, flip.to_version or "", request, job.waiting)


def flip(job: Job) -> None:
    """Move the alias: the intent is committed first, the outcome with its event after it was read back."""
    rooms = job.rooms
    binding, runtime = _where(job)
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        if releases.get(conn, job.release.id).phase is not ReleasePhase.FLIPPING:
            raise Cancelled("the release is being undone")
        move = flips.get(conn, job.release.id, binding.name)
        if move.phase is FlipPhase.PROBED:
            move = advance(conn, move, FlipPhase.INTENDED, now=rooms.state.now(conn), step=job.step)
    if move.phase is not FlipPhase.INTENDED or move.to_version is None:
        raise Conflict(f"{binding.name}: the flip is {move.phase}, not intended")
    warm.keep_previous(job, binding, runtime, move)
    started = time.monotonic()
    runtime.flip(binding.function, binding.alias, move.to_version, move.from_version)
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        now = rooms.state.now(conn)
        advance(conn, move, FlipPhase.FLIPPED, now=now, step=job.step)
        live.record(conn, binding.name, move.to_version, move.serves, job.release.id, now)
        steps.done(conn, job.step.id, job.step.attempt, now, {"function_version": move.to_version})
    log.info("flipped", function=binding.function, alias=binding.alias, function_version=move.to_version,
             region=rooms.fleet.regions[binding.runtime], seconds=round(time.monotonic() - started, 3))  # fmt: skip


def undo(job: Job) -> None:
    """Move the alias back to where it was before this release; repeated until it is there."""
    rooms = job.rooms
    binding, runtime = _where(job)
    move = _flip_of(job)
    started = time.monotonic()
    runtime.flip(binding.function, binding.alias, move.from_version, move.to_version)
    with rooms.state.fenced(job.step.id, job.step.attempt) as conn:
        now = rooms.state.now(conn)
        advance(conn, move, FlipPhase.UNDONE, now=now, step=job.step)
        live.record(conn, binding.name, move.from_version, move.served, job.release.id, now)
        steps.done(conn, job.step.id, job.step.attempt, now, {"function_version": move.from_version})
    log.info("undone", function=binding.function, alias=binding.alias, function_version=move.from_version,
             region=rooms.fleet.regions[binding.runtime], seconds=round(time.monotonic() - started, 3))  # fmt: skip


def _where(job: Job) -> tuple[Binding, Runtime]:
    binding = job.rooms.fleet.bindings[job.step.subject]
    return binding, job.rooms.runtimes[binding.runtime]


def _flip_of(job: Job) -> Flip:
    with job.rooms.state.read() as conn:
        return flips.get(conn, job.release.id, job.step.subject)


def _servings(job: Job, serves: dict[str, str]) -> dict[str, Serving]:
    with job.rooms.state.read() as conn:
        found = {model: (versions.get(conn, v), versions.manifest(conn, v)) for model, v in serves.items()}
    return {m: Serving(version.name, version.digest, manifest.directory) for m, (version, manifest) in found.items()}


def _digest(change: Change) -> str:
    mounts = [[m.kind.value, m.source, m.path, m.mount_dir, m.endpoint] for m in change.mounts]
    text = json.dumps([mounts, sorted(change.environment.items())], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
