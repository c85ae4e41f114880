"""Retention: versions that the rules no longer keep are marked, and retired after a grace period.

A pass marks and deletes nothing of what it marks. When the grace period of a version is over, the record and the cloud
are asked again, and only what is still unneeded is retired, as by `syncd retire`: seal first, each effect repeatable.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from syncd.artifact.names import parse_model, parse_model_at_version
from syncd.errors import Conflict, NotFound, SyncdError
from syncd.plan.retention import RetentionDecision, decide
from syncd.reconcile.context import World
from syncd.reconcile.gc import needs, retire
from syncd.reconcile.gc.needs import CloudFacts
from syncd.state.content import versions
from syncd.state.records import Version
from syncd.state.releases import removals, retirements
from syncd.state.releases.removals import Removal

log = structlog.get_logger("syncd.retention")

CLOCK: Final = "retention"  # who a daemon's pass is made by


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the rules say of a version now, and its mark if it has one."""

    version: Version
    decision: RetentionDecision
    bytes_at: dict[str, int]
    removal: Removal | None

    @property
    def marked(self) -> Removal | None:
        """Its mark; None where it has none, or a person has undone it."""
        return self.removal if self.removal is not None and not self.removal.spared_by else None


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass did: `run` is empty if nothing was marked."""

    run: str
    marked: tuple[Outlook, ...]
    unmarked: tuple[Outlook, ...]
    deleted: tuple[Version, ...]
    postponed: tuple[tuple[Version, str], ...]  # and why


def models_of(world: World, model: str | None) -> tuple[str, ...]:
    """One model, or every model that a binding serves and a rule selects.

    Raises:
        NotFound: No binding serves the model.
    """
    if model is None:
        return tuple(sorted(each for each in world.topology.models() if world.retention.rule_of(each)))
    name = parse_model(model)
    if not world.topology.bindings_of(name):
        raise NotFound(f"no binding serves the model {name}", hint="`syncd status` lists what is served")
    return (name,)


def outlook(world: World, model: str) -> list[Outlook]:
    """What the rules say of every stored version of a model, the oldest first. Reads the cloud; changes nothing."""
    cloud = needs.read_cloud(world, model)
    with world.state.read() as conn:
        return _outlook(world, conn, model, cloud)


def run(world: World, models: Sequence[str], who: str, stop: threading.Event) -> PassResult:
    """One pass: resume interrupted retirements, delete what is due, mark what is not kept. Repeating it is harmless."""
    retire.resume(world, stop)
    deleted: list[Version] = []
    postponed: list[tuple[Version, str]] = []
    with world.state.read() as conn:
        now = world.state.now(conn)
        due = [each for each in removals.all(conn) if not each.spared_by and each.due_at <= now]
        chosen = [version for each in due if (version := versions.get(conn, each.version_id)).model in models]
    for version in chosen:
        if stop.is_set():
            break
        reason = _delete(world, version, who)
        if reason:
            postponed.append((version, reason))
        else:
            deleted.append(version)
    marked, unmarked, name = _mark(world, models, who, stop)
    return PassResult(name, tuple(marked), tuple(unmarked), tuple(deleted), tuple(postponed))


def undo(world: World, what: str, who: str) -> list[Version]:
    """Undo the mark of `MODEL@VERSION`, or of every version that a run has marked. The rules do not mark it again.

    Raises:
        NotFound: There is no such version, or no such run.
        Conflict: It is not marked, or it is being deleted already.
    """
    with world.state.write() as conn:
        now = world.state.now(conn)
        if "@" not in what:
            found = [versions.get(conn, each.version_id) for each in removals.of_run(conn, what)]
            if not found:
                raise NotFound(
                    f"no version is marked by the run {what!r}", hint="`syncd gc --plan` lists marked versions"
                )
        else:
            model, name = parse_model_at_version(what)
            version = versions.find(conn, model, name)
            if version is None:
                raise NotFound(f"no version {what} in the record", hint=f"`syncd releases {model}` lists its releases")
            found = [version]
        for each in found:
            if not removals.spare(conn, each, who, now):
                raise _not_marked(conn, each)
    return found


def _not_marked(conn: Connection, version: Version) -> Conflict:
    retired = retirements.find(conn, version.id)
    name = f"{version.model}@{version.name}"
    if retired is None:
        return Conflict(f"{name} is not marked for removal", hint="`syncd gc --plan` lists marked versions")
    said = "is being deleted" if retired.done_at is None else "was deleted"
    return Conflict(f"{name} {said}", hint=f"`syncd publish {name}` copies it again, if its registry still has it")


def _outlook(world: World, conn: Connection, model: str, cloud: CloudFacts) -> list[Outlook]:
    stored = needs.stored(conn, model)
    facts = needs.facts(world, conn, model, cloud)
    decisions = decide(world.retention.rule_of(model), stored, facts, world.state.now(conn))
    named = versions.of(conn, [each.id for each in stored])
    return [
        Outlook(named[one.id], decision, dict(one.bytes_at), removals.find(conn, one.id))
        for one, decision in zip(stored, decisions, strict=True)
    ]


def _mark(
    world: World, models: Sequence[str], who: str, stop: threading.Event
) -> tuple[list[Outlook], list[Outlook], str]:
    """Mark what the rules no longer keep, and take the mark off what is needed. The name of the run, if it marked."""
    marked: list[Outlook] = []
    unmarked: list[Outlook] = []
    run = ""
    for model in models:
        if stop.is_set():
            break
        cloud = needs.read_cloud(world, model)
        with world.state.write() as conn:
            now = world.state.now(conn)
            for each in _outlook(world, conn, model, cloud):
                if not each.decision.is_removable:
                    if not cloud.unknown and removals.unmark(conn, each.version, each.decision.reasons, now):
                        unmarked.append(each)
                elif each.removal is None and not _is_retiring(conn, each.version):
                    run = run or removals.next_run(conn)
                    removal = _removal(world, each, run, who, now)
                    removals.mark(conn, each.version, removal)
                    marked.append(Outlook(each.version, each.decision, each.bytes_at, removal))
    for each in marked:
        log.info("version.marked", message="A version is marked for removal.", model=each.version.model,
                 version=each.version.name, run=run, why="; ".join(each.decision.reasons))  # fmt: skip
    return marked, unmarked, run


def _removal(world: World, each: Outlook, run: str, who: str, now: datetime) -> Removal:
    until = now + timedelta(seconds=world.retention.grace_s)
    return Removal(each.version.id, run, who, "; ".join(each.decision.reasons), now, until, "")


def _is_retiring(conn: Connection, version: Version) -> bool:
    retired = retirements.find(conn, version.id)
    return retired is not None and retired.done_at is None


def _delete(world: World, version: Version, who: str) -> str:
    """Retire a version whose grace period is over, if nothing needs it by now. Why it stays; "" if it is gone."""
    cloud = needs.read_cloud(world, version.model, strangers=True)
    try:
        if reason := _begin(world, version, who, cloud):
            return reason
        retire.execute(world, version)
    except SyncdError as error:
        log.warning("version.not_retired", message="A retirement could not be completed.", model=version.model,
                    version=version.name, error=error.message, hint=error.hint)  # fmt: skip
        return error.message
    return ""


def _begin(world: World, version: Version, who: str, cloud: CloudFacts) -> str:
    """Decide once more, in the transaction that begins the retirement. Why the version stays, or ""."""
    with world.state.write() as conn:
        now = world.state.now(conn)
        mark = removals.find(conn, version.id)
        if mark is None or mark.spared_by:  # by another process, since the pass began
            return "its mark is gone"
        found = next((e for e in _outlook(world, conn, version.model, cloud) if e.version.id == version.id), None)
        if found is None:  # no copy is left: a person has retired it
            removals.forget(conn, version.id)
            return ""
        if not found.decision.is_removable:
            if not cloud.unknown:
                removals.unmark(conn, version, found.decision.reasons, now)
            return "; ".join(found.decision.reasons)
        retire.check_not_needed(conn, version, now)
        retirements.begin(conn, version, who, f"{mark.run}: {mark.why}", now)
        removals.forget(conn, version.id)
    return ""
