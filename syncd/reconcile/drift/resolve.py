"""Resolution of drift, by a person or a policy: adopt (the record follows the world) or restore (the reverse)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.errors import Conflict, Fenced, Invalid, NotFound, SyncdError, Unavailable
from syncd.plan.binding import Binding
from syncd.plan.drift import FUNCTION_VERSION, NO_ALIAS, Difference, alias_differences, version_deleted
from syncd.plan.phases import FlipPhase, StepKind
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.drift.compare import ExpectedState, differences, expected, is_deleted
from syncd.reconcile.steps.carried_models import carried_by
from syncd.runtime.base import Waiting
from syncd.state.content import versions
from syncd.state.records import DriftResolution, Flip, FunctionVersion, Live
from syncd.state.releases import events, steps
from syncd.state.releases.events import advance
from syncd.state.serving import drift_resolutions, drifts, flips, live
from syncd.values.function import AliasState
from syncd.values.shown_text import WHO_MAX, shown_text

log = structlog.get_logger("syncd.drift")

LEASE_S: Final = 120.0  # three calls of maximum duration; waiting renews it


@dataclass(frozen=True, slots=True)
class Justification:
    """The person or policy that resolves drift, and the reason."""

    who: str
    why: str

    def __post_init__(self) -> None:
        """Raises Invalid for a name or a reason that cannot be shown."""
        shown_text(self.who, "the requester's name", WHO_MAX)
        shown_text(self.why, "the reason")

    def __str__(self) -> str:
        return f"{self.who}: {self.why}" if self.why else self.who


def bindings_named(topology: Topology, name: str) -> tuple[Binding, ...]:
    """The binding of this name, or all that serve the model of this name.

    Raises:
        NotFound: There is neither.
    """
    found = (topology.bindings[name],) if name in topology.bindings else topology.bindings_of(name)
    if not found:
        raise NotFound(f"no binding and no model {name!r}", hint=f"bindings: {', '.join(sorted(topology.bindings))}")
    return found


def adopt(world: World, binding: Binding, decision: Justification) -> tuple[Difference, ...]:
    """Record where a binding's alias points. The answer is what differed; empty where it was as recorded.

    A release that is being undone and cannot take this alias back, because others moved it to a third version, counts
    it as undone then: it ends when its other aliases are back.

    Raises:
        Conflict: The alias points at a version that was not staged and proven here, or has traffic shares. Or a
            release or a restore holds the alias.
        NotFound: syncd never moved this alias.
        Unavailable: The region could not be read.
    """
    want = _read(world, binding)
    runtime = world.runtimes[binding.runtime]
    pointed = runtime.read(binding.function, binding.alias)
    found = alias_differences(want.live.function_version, pointed)
    to = pointed.function_version or ""
    is_gone = bool(to) and is_deleted(runtime, binding.function, to)
    if is_gone:
        found = (*found, version_deleted(to))
    with world.state.write() as conn:
        drift_resolutions.block_claims(conn)
        _refuse_changed(conn, world.topology, binding, want)
        now = world.state.now(conn)
        blocked = _blocked_undo(conn, binding, pointed)
        if blocked is None:
            drift_resolutions.check_not_busy(conn, (binding.name,))
        if not found and blocked is None:
            _refuse_latest(conn, binding)
            return ()
        known = _probed(conn, binding, pointed, is_gone=is_gone)
        if blocked is not None:
            steps.cancel_open(conn, blocked.release_id, now)  # the undo of this one; others are begun again
            advance(conn, blocked, FlipPhase.UNDONE, now=now, reason=f"left where it is by {decision}")
        live.record(conn, binding.name, known.function_version, known.models, known.release_id, now)
        how = f"adopted by {decision}"
        mine = [drift for drift in drifts.open_drifts(conn, (binding.name,)) if _is_of_alias(drift.what)]
        drifts.close(conn, mine, how, now)
        detail = {"got": known.function_version, "want": want.live.function_version or NO_ALIAS}
        detail |= {"who": decision.who, "why": decision.why}
        events.append(conn, "binding.adopted", now=now, subject=binding.name, detail=detail)
    log.info(
        "drift.adopted",
        message="The record follows where the alias points.",
        binding=binding.name,
        function=binding.function,
        alias=binding.alias,
        who=decision.who,
        function_version=known.function_version,
    )
    return found


def restore(world: World, binding: Binding, decision: Justification) -> tuple[Difference, ...]:
    """Restore a binding to the record. The answer is what differed; empty where it was as recorded.

    The intent is committed first. If an answer is lost, or this process dies, a daemon continues, and so does the
    next `restore` of this binding after the lease; releases of the alias wait meanwhile. If the function version is
    deleted, another one with the same contents is staged and recorded.

    Where a release cannot take this alias back, because others moved it to a third version, the alias is moved to where
    the release takes it, and that ends.

    Raises:
        Conflict: A release or another restore holds the alias, it was moved meanwhile, or the record has no alias: an
            alias that others created is not deleted.
        Failed: The recorded version no longer answers with its digests; the alias stays where it is.
        NotFound: syncd never moved this alias, or the function is gone.
        Unavailable: It is unknown yet whether it is restored.
    """
    again = _taken_over(world, binding.name)
    if again is not None:
        return execute(world, binding, again)
    want = _read(world, binding)
    runtime = world.runtimes[binding.runtime]
    pointed = runtime.read(binding.function, binding.alias)
    with world.state.read() as conn:
        blocked = _blocked_undo(conn, binding, pointed)
    if blocked is not None:
        return _unblock(world, binding, blocked, pointed, decision)
    found = differences(runtime, binding, want)
    with world.state.write() as conn:
        _refuse_changed(conn, world.topology, binding, want)
        now = world.state.now(conn)
        if not found:
            drift_resolutions.check_not_busy(conn, (binding.name,))
            drifts.note(conn, want.live, found, now)
            return ()
        if want.live.function_version is None:
            hint = "delete it in the console if it is not needed, or publish a version"
            raise Conflict(f"{binding.function}:{binding.alias}: expected no alias as recorded, got one", hint=hint)
        resolution = drift_resolutions.begin(
            conn,
            binding.name,
            world.topology.bindings_at(binding),
            who=decision.who,
            why=decision.why,
            expects=pointed.function_version,
            lease_s=LEASE_S,
            now=now,
        )
        drifts.note(conn, want.live, found, now)
        detail = {"who": decision.who, "why": decision.why, "got": found[0].got, "want": found[0].want}
        events.append(conn, "binding.restoring", now=now, subject=binding.name, detail=detail)
    return execute(world, binding, resolution)


def _unblock(
    world: World, binding: Binding, blocked: Flip, pointed: AliasState, decision: Justification
) -> tuple[Difference, ...]:
    """Move an alias to where an undo takes it. The undo finds it there and records it."""
    runtime = world.runtimes[binding.runtime]
    runtime.flip(binding.function, binding.alias, blocked.from_version, pointed.function_version)
    with world.state.write() as conn:
        now = world.state.now(conn)
        steps.make_due(conn, blocked.release_id, StepKind.UNDO, now)
        detail = {
            "who": decision.who,
            "why": decision.why,
            "got": str(pointed),
            "want": blocked.from_version or NO_ALIAS,
        }
        events.append(
            conn, "binding.restored", now=now, release_id=blocked.release_id, subject=binding.name, detail=detail
        )
    return alias_differences(blocked.from_version, pointed)


def execute(world: World, binding: Binding, resolution: DriftResolution) -> tuple[Difference, ...]:
    """Carry out a recorded restore: read, write, read back, record. Raises as `restore` does, or Fenced."""
    try:
        found = _restore(world, binding, resolution)
    except (Unavailable, Fenced):
        raise  # the outcome is unknown, or the lease is lost: the next attempt reads first
    except SyncdError as error:
        with world.state.write() as conn:
            drift_resolutions.end(conn, resolution)
            detail = {"who": resolution.who, "reason": error.message}
            events.append(conn, "binding.unrestored", now=world.state.now(conn), subject=binding.name, detail=detail)
        raise
    with world.state.write() as conn:
        drift_resolutions.end(conn, resolution)
        now = world.state.now(conn)
        over = drifts.open_drifts(conn, (binding.name,))
        drifts.close(conn, over, f"restored by {Justification(resolution.who, resolution.why)}", now)
        detail = {"who": resolution.who, "why": resolution.why, "what": ", ".join(drift.what for drift in over)}
        events.append(conn, "binding.restored", now=now, subject=binding.name, detail=detail)
    log.info(
        "drift.restored",
        message="The binding is as recorded again.",
        binding=binding.name,
        function=binding.function,
        alias=binding.alias,
        who=resolution.who,
    )
    return found


def resume(world: World, runtime: str) -> None:
    """Continue every restore in a region whose lease is over.

    Raises:
        Unavailable: The region does not answer; the next call repeats it.
    """
    with world.state.read() as conn:
        going = [resolution.subject for resolution in drift_resolutions.unfinished(conn)]
    for name in going:
        binding = world.topology.bindings.get(name)
        if binding is None or binding.runtime != runtime:
            continue
        taken = _taken_over(world, name)
        if taken is None:
            continue
        try:
            execute(world, binding, taken)
        except Unavailable:
            raise
        except SyncdError as error:
            log.warning(
                "drift.restore_failed",
                message="An interrupted restore could not be completed.",
                binding=name,
                error=error.message,
                hint=error.hint,
            )


def _restore(world: World, binding: Binding, resolution: DriftResolution) -> tuple[Difference, ...]:
    want = _read(world, binding)
    runtime = world.runtimes[binding.runtime]
    found = differences(runtime, binding, want)
    if any(each.is_of_alias for each in found):
        if any(each.what == FUNCTION_VERSION for each in found):
            want = _staged_anew(world, binding, resolution, want)
        _probe(world, binding, resolution, want)
        runtime.flip(binding.function, binding.alias, want.live.function_version, resolution.expects)
        _record_live(world, want.live)
        want = _read(world, binding)
    if want.latest is not None and any(not each.is_of_alias for each in differences(runtime, binding, want)):
        _restage(world, binding, resolution, want)
    left = differences(runtime, binding, want)
    if left:
        raise Conflict(f"{binding.name}: {left[0].what}: expected {left[0].want}, got {left[0].got} again")
    return found


def _staged_anew(world: World, binding: Binding, resolution: DriftResolution, want: ExpectedState) -> ExpectedState:
    """Stage a function version with the contents of the deleted one.

    Raises as `Runtime.stage`, Conflict if the configuration of the binding has changed, or Fenced.
    """
    serving = want.live
    try:
        with world.state.read() as conn:
            again = carried_by(conn, world.topology, binding, serving.function_version, serving.models)
    except Invalid as other:
        hint = f"publish the version of {', '.join(sorted(serving.models))} that {binding.name} is to serve"
        raise Conflict(f"{binding.name}: {other.message}", hint=hint) from other
    token = f"syncd restore {binding.name} {resolution.began_at:%Y-%m-%dT%H:%M:%SZ}"
    runtime = world.runtimes[binding.runtime]
    staged = runtime.stage(
        binding.function, again.change, token, known=again.known, waiting=_renewing(world, resolution)
    )
    with world.state.write() as conn:
        again.note(conn, staged.function_version, world.state.now(conn))
    return replace(want, live=replace(serving, function_version=staged.function_version))


def _record_live(world: World, serving: Live) -> None:
    """Record the function version that an alias points at now, if it is another one than before."""
    with world.state.write() as conn:
        recorded = live.get(conn, serving.binding)
        if recorded is not None and recorded.function_version != serving.function_version:
            now = world.state.now(conn)
            live.record(conn, serving.binding, serving.function_version, serving.models, serving.release_id, now)


def _probe(world: World, binding: Binding, resolution: DriftResolution, want: ExpectedState) -> None:
    """Probe the recorded version again: the bytes behind its mount may be gone since then.

    Raises as `Runtime.probe`, or Fenced.
    """
    if want.live.function_version is None:
        return
    with world.state.read() as conn:
        digests = [versions.get(conn, version_id).digest for version_id in want.live.models.values()]
    waiting = _renewing(world, resolution)
    runtime = world.runtimes[binding.runtime]
    runtime.probe(binding.function, binding.candidate, want.live.function_version, binding.probe(digests), waiting)
    waiting("the alias is moved")  # an answer may have taken longer than the lease


def _renewing(world: World, resolution: DriftResolution) -> Waiting:
    """A wait that renews the lease of the resolution. It raises Fenced if the lease is lost."""

    def waiting(_what: str) -> None:
        with world.state.write() as conn:
            drift_resolutions.renew(conn, resolution, LEASE_S, world.state.now(conn))

    return waiting


def _restage(world: World, binding: Binding, resolution: DriftResolution, want: ExpectedState) -> None:
    """Stage the last change again on LATEST. It may publish a function version, which is recorded."""
    assert want.latest is not None
    assert want.newest is not None
    token = f"syncd restore {binding.name} {resolution.began_at:%Y-%m-%dT%H:%M:%SZ}"
    runtime = world.runtimes[binding.runtime]
    staged = runtime.stage(binding.function, want.latest, token, known=(), waiting=_renewing(world, resolution))
    last = want.newest
    with world.state.write() as conn:
        now = world.state.now(conn)
        note = partial(FunctionVersion, last.binding, staged.function_version, last.models, last.change_digest)
        live.note_function_version(conn, note(last.release_id, now))


def _blocked_undo(conn: Connection, binding: Binding, pointed: AliasState) -> Flip | None:
    """The flip that an undo cannot revert, because the alias points neither at its old nor at its new version."""
    release = flips.holder(conn, binding.name)
    flip = flips.get(conn, release, binding.name) if release else None
    if flip is None or flip.phase is not FlipPhase.UNDOING:
        return None
    return None if pointed.function_version in {flip.from_version, flip.to_version} else flip


def _read(world: World, binding: Binding) -> ExpectedState:
    with world.state.read() as conn:
        want = expected(conn, world.topology, binding)
    if want is None:
        raise NotFound(f"syncd never moved {binding.function}:{binding.alias}", hint="publish a version first")
    return want


def _taken_over(world: World, name: str) -> DriftResolution | None:
    with world.state.write() as conn:
        return drift_resolutions.take_over(conn, name, LEASE_S, world.state.now(conn))


def _refuse_changed(conn: Connection, topology: Topology, binding: Binding, want: ExpectedState) -> None:
    if expected(conn, topology, binding) != want:
        raise Conflict(f"{binding.name} was moved by a release while it was being read", hint="enter the command again")


def _refuse_latest(conn: Connection, binding: Binding) -> None:
    """Raises Conflict if only LATEST differs: the record cannot adopt that."""
    of_latest = [drift for drift in drifts.open_drifts(conn, (binding.name,)) if not _is_of_alias(drift.what)]
    if of_latest:
        raise Conflict(
            f"{binding.function}: only LATEST differs ({of_latest[0].what}), and LATEST is not a version",
            hint=f"`syncd restore {binding.name}` restores it, and so does the next release",
        )


def _is_of_alias(what: str) -> bool:
    return Difference(what, "", "").is_of_alias


def _probed(conn: Connection, binding: Binding, pointed: AliasState, *, is_gone: bool) -> FunctionVersion:
    """The record of the function version that the alias points at."""
    at = f"{binding.function}:{binding.alias}"
    back = f"`syncd restore {binding.name}` restores what is recorded"
    if pointed.function_version is None:
        raise Conflict(f"{at} is gone: there is nothing to adopt", hint=back)
    if is_gone:
        raise Conflict(f"{at} points at function version {pointed.function_version}, which is deleted", hint=back)
    if pointed.weights:
        raise Conflict(f"{at} sends shares to {', '.join(sorted(pointed.weights))}: the record has none", hint=back)
    staged = {version.function_version: version for version in live.function_versions(conn, binding.name)}
    known = staged.get(pointed.function_version)
    if known is None:
        where = f"{at} points at function version {pointed.function_version}, which syncd did not stage for it"
        raise Conflict(f"{where}: its contents are unknown", hint=f"{back}; or publish the version it should serve")
    if not flips.has_moved_to(conn, binding.name, known.function_version):
        where = f"{at} points at function version {known.function_version}, which {known.release_id} staged"
        raise Conflict(f"{where} and which never served: it is not proven", hint=back)
    return known
