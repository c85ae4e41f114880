"""Instances that are held ready: for a version before it is probed, and for the one before it after the flip.

The record knows of a warmth before it is put, so that after a crash at any moment `cool` finds and removes it. What
hung on an alias before is put back. What hangs on the alias that callers use is noted before a flip and compared
after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from syncd.errors import Conflict, Failed, NotFound, NotYet, Refused, SyncdError, Unavailable
from syncd.plan.binding import Binding
from syncd.plan.phases import RELEASE_ENDS, FlipPhase, ReleasePhase
from syncd.reconcile.context import Attempt, Context
from syncd.runtime.base import Runtime
from syncd.state.records import Flip, KeptScaling, Prewarm
from syncd.state.releases import events, releases
from syncd.state.serving import flips, prewarms
from syncd.values.function import Scaling

T = TypeVar("T")

log = structlog.get_logger("syncd.warm")

RELEASE_EVERY_S: Final = 15.0
_MOVED: Final = frozenset({FlipPhase.FLIPPED, FlipPhase.DONE, FlipPhase.UNDONE})


def prewarm(job: Attempt, binding: Binding, runtime: Runtime, function_version: str) -> bool:
    """Have the binding's instances held ready for the version, through its candidate alias. False: it wants none.

    A rollback waits for none: it has to be quick, and its version has served before.

    Raises:
        NotYet: They are wanted and have not all come.
        Failed: They have not come in time; what the platform says of it is in the message.
    """
    warmth = binding.warmth
    if warmth is None or job.release.rollback:
        return False
    pointed = runtime.read(binding.function, binding.candidate)
    if pointed.function_version != function_version or pointed.weights:
        runtime.flip(binding.function, binding.candidate, function_version, pointed.function_version)
    row = _owned(job, binding, runtime, binding.candidate)
    now = runtime.scaling(binding.function, binding.candidate)
    if now.target < warmth.instances:
        runtime.scale(binding.function, binding.candidate, row.before, least=warmth.instances)
        now = runtime.scaling(binding.function, binding.candidate)
    if now.current >= now.target >= warmth.instances:
        return True
    said = f"{binding.function}:{function_version}: {now.current} of {now.target} instances are ready"
    said = f"{said}: {now.error}" if now.error else said
    with job.context.state.read() as conn:
        waited_s = (job.context.state.now(conn) - row.since).total_seconds()
    if waited_s >= warmth.timeout_s:
        hint = "the platform has no more now, or the account's quota is used up; `warm = 0` does without"
        raise Failed(f"{said}, after {waited_s:.0f} s", hint=hint)
    raise NotYet(said)


def ready_s(job: Attempt, binding: Binding) -> float | None:
    """How long the candidate's instances took to become ready, to the interval of the poll; None if it is not known."""
    with job.context.state.read() as conn:
        row = prewarms.find(conn, binding.name, binding.candidate)
        return (job.context.state.now(conn) - row.since).total_seconds() if row else None


def note_scaling(job: Attempt, binding: Binding, runtime: Runtime, move: Flip) -> None:
    """Remember what hangs on the alias that callers use, so that it can be seen whether the flip has lost it.

    Where there is none, nothing can be lost, and no later pass compares it.
    """
    if move.from_version in {None, move.to_version}:  # there is no alias yet, or it will not be touched
        return
    try:
        settings = runtime.scaling(binding.function, binding.alias).settings
    except NotFound:  # the flip will make it
        settings = {}
    except (Failed, Refused) as error:  # a key without this permission must not block a release
        log.warning(
            "scaling.unknown",
            message="The scaling of the alias could not be read; a flip that loses it goes unnoticed.",
            function=binding.function,
            error=error.message,
        )
        settings = {}
    with job.context.state.fenced(job.step.id, job.step.attempt) as conn:
        prewarms.note_scaling(conn, job.release.id, binding.name, settings)


def keep_previous(job: Attempt, binding: Binding, runtime: Runtime, move: Flip) -> None:
    """Hold the version that is being left ready, for as long as the binding says. A flip never waits for that.

    It has an alias of its own for this. Not for a rollback: the version that it leaves is the bad one.
    """
    warmth = binding.warmth
    if warmth is None or not warmth.rollback_s or job.release.rollback or move.from_version is None:
        return
    if move.from_version == move.to_version:
        return
    try:
        _kept(job, binding, runtime, move.from_version)
    except (Conflict, Failed, NotFound, Refused, Unavailable) as error:
        log.warning(
            "prewarm.previous_failed",
            message="Instances of the previous function version could not be kept ready.",
            function=binding.function,
            error=error.message,
        )


def _kept(job: Attempt, binding: Binding, runtime: Runtime, function_version: str) -> None:
    assert binding.warmth is not None
    alias = binding.warmth.previous
    with job.context.state.read() as conn:
        ours = prewarms.find(conn, binding.name, alias)
    pointed = runtime.read(binding.function, alias)
    if ours is None and pointed.function_version is not None:
        raise Conflict(f"{binding.function} has an alias {alias} that is not ours")
    _owned(job, binding, runtime, alias)
    if pointed.function_version != function_version or pointed.weights:
        runtime.flip(binding.function, alias, function_version, pointed.function_version)
    runtime.scale(binding.function, alias, {}, least=binding.warmth.instances)


def _owned(job: Attempt, binding: Binding, runtime: Runtime, alias: str) -> Prewarm:
    """The record's row for the alias, written before anything is put. What hangs there is read only the first time."""
    assert binding.warmth is not None
    is_previous = alias == binding.warmth.previous
    context = job.context
    with context.state.read() as conn:
        found = prewarms.find(conn, binding.name, alias)
    before = Scaling() if found or is_previous else runtime.scaling(binding.function, alias)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        wanted = Prewarm(
            binding=binding.name,
            alias=alias,
            release_id=job.release.id,
            runtime=binding.runtime,
            function=binding.function,
            instances=binding.warmth.instances,
            before=before.settings,
            kept_s=int(binding.warmth.rollback_s) if is_previous else 0,
            made=is_previous,
            cooling=False,
            since=context.state.now(conn),
        )
        return prewarms.own(conn, wanted)


def release_prewarmed(context: Context) -> int:
    """Release prewarmed instances that no release needs, and restore scaling that flips have lost. Returns how many.

    Repeating it is harmless. What cannot be done now is done by a later pass.
    """
    with context.state.read() as conn:
        over = prewarms.due(conn, context.state.now(conn))
        kept = prewarms.kept_scalings(conn)
    return sum(_tried(context, _released, each) for each in over) + sum(
        _tried(context, _resolved, each) for each in kept
    )


def _tried(context: Context, does: Callable[[Context, T], bool], row: T) -> bool:
    try:
        return does(context, row)
    except SyncdError as error:
        log.warning(
            "prewarm.cleanup_failed",
            message="Prewarmed instances could not be released or restored; it is tried again.",
            error=error.message,
            hint=error.hint,
        )
        return False


def _released(context: Context, warmth: Prewarm) -> bool:
    runtime = context.runtimes.get(warmth.runtime)
    if runtime is None:
        raise Conflict(
            f"{warmth.function}:{warmth.alias} holds {warmth.instances} instances ready, and the runtime"
            f" {warmth.runtime} is not configured any more",
            hint="remove them manually, or configure it again",
        )
    if _bridges(context, warmth):
        return False
    with context.state.write() as conn:
        if not prewarms.releasing(conn, warmth):
            return False
    try:
        runtime.scale(warmth.function, warmth.alias, warmth.before)
        if warmth.made:
            runtime.flip(
                warmth.function, warmth.alias, None, runtime.read(warmth.function, warmth.alias).function_version
            )
    except NotFound:
        pass  # with the alias, what hung on it is gone
    with context.state.write() as conn:
        prewarms.released(conn, warmth, context.state.now(conn))
    log.info(
        "prewarm.released",
        message="The prewarmed instances are released.",
        function=warmth.function,
        alias=warmth.alias,
        release=warmth.release_id,
    )
    return True


def _bridges(context: Context, warmth: Prewarm) -> bool:
    """Whether it stands in for instances that the flip has asked for at the alias of the callers and are not there yet.

    As long as they may take to come before a probe, and no longer.
    """
    binding = context.topology.bindings.get(warmth.binding)
    if binding is None or binding.warmth is None or warmth.made or warmth.cooling:
        return False
    with context.state.read() as conn:
        release = releases.get(conn, warmth.release_id)
        since_s = (context.state.now(conn) - release.updated_at).total_seconds()
    if release.phase is not ReleasePhase.LIVE or since_s >= binding.warmth.timeout_s:
        return False
    try:
        now = context.runtimes[binding.runtime].scaling(binding.function, binding.alias)
    except NotFound:
        return False
    return now.current < now.target


def _resolved(context: Context, kept: KeptScaling) -> bool:
    """Compare the scaling of a moved alias with what it was before; restore what is gone entirely.

    Settings that are there but differ were changed on purpose, and stay.
    """
    with context.state.read() as conn:
        ended = releases.get(conn, kept.release_id).phase in RELEASE_ENDS
        moved = flips.get(conn, kept.release_id, kept.binding).phase in _MOVED
    binding = context.topology.bindings.get(kept.binding)
    lost = False
    if moved and binding is not None and (ended or not kept.compared):
        lost = _put_back(context, binding, kept)
    if ended or (moved and not kept.compared):
        with context.state.write() as conn:
            (prewarms.forget_scaling if ended else prewarms.compared)(conn, kept)
    return lost


def _put_back(context: Context, binding: Binding, kept: KeptScaling) -> bool:
    runtime = context.runtimes[binding.runtime]
    try:
        now = runtime.scaling(binding.function, binding.alias).settings
    except NotFound:  # a first release that was undone
        return False
    lost = {kind: settings for kind, settings in kept.settings.items() if kind not in now}
    if not lost:
        return False
    runtime.scale(binding.function, binding.alias, {**now, **lost})
    with context.state.write() as conn:
        detail: dict[str, object] = {"alias": binding.alias, "lost": sorted(lost)}
        at = context.state.now(conn)
        events.append(
            conn, "binding.scaling_mended", now=at, release_id=kept.release_id, subject=binding.name, detail=detail
        )
    log.warning(
        "scaling.restored",
        message="The scaling that the flip had lost is set on the alias again.",
        function=binding.function,
        alias=binding.alias,
    )
    return True
