"""Targets that nothing is sent to: the cloud replicates another target there, and syncd waits, proves and seals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NoReturn

from syncd.artifact.manifest import Manifest
from syncd.errors import Corrupt, Failed, NotYet, Unavailable
from syncd.plan.phases import PlacementPhase
from syncd.reconcile.context import Attempt
from syncd.reconcile.steps.placement_record import check_not_withdrawn, record_partial, seal
from syncd.state.content import base_images, images, placements
from syncd.state.content.journal import SqlJournal
from syncd.state.records import ImageBase, PlacedImage, Placement, ReleaseBase, Version
from syncd.state.releases import steps
from syncd.targets.base import Depth, Inspection

_PAUSE: Final = 1 / 8  # of what has been waited already: a check costs a listing, and being late by that costs little


def await_replica(job: Attempt, version: Version, manifest: Manifest, name: str) -> None:
    """Check a replica once: seal it if every file has arrived and is verified, else try again later.

    The seal that replication brings proves nothing: it may come before the files do. Each file's size and the
    store's CRC-64 of it have to be what was proven when the source was written.

    Raises:
        NotYet: Files are missing, and the deadline is not over.
        Failed: They are missing, and it is.
        Corrupt: A file is there with other bytes, or one that was there when it was sealed is not any more.
    """
    context = job.context
    check_not_withdrawn(job, version, name)
    with context.state.read() as conn:
        placement = placements.get(conn, version.id, name)
        source = placements.get(conn, version.id, context.topology.replicas[name].source)
    if source.phase is not PlacementPhase.SEALED:
        raise Unavailable(f"{name} is replicated from {source.target}, where {manifest} is {source.phase}, not sealed")
    if placement.phase is not PlacementPhase.SEALED:
        record_partial(job, version, name, PlacementPhase.COPYING)
    found = context.targets[name].inspect(manifest, Depth.SIZES, SqlJournal(context.state, version.id, name))
    if found.wrong or (found.missing and placement.phase is PlacementPhase.SEALED):
        repair = f"syncd repair {version.model}@{version.name} --target {name}"
        raise Corrupt(f"{name}: {_problems(found)[:500]}", hint=f"`syncd verify` shows all; to restore it: {repair}")
    if found.missing:
        what = f"{len(found.missing)} of {len(manifest.entries)} files of {manifest}"
        _wait(job, placement, _Missing(what, min(found.missing), _progress(manifest, found), "bucket"))
    seal(job, version, manifest, name)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        steps.done(conn, job.step.id, job.step.attempt, context.state.now(conn), {"targets": [name]})


def await_image(job: Attempt, version: Version, manifest: Manifest, name: str) -> None:
    """Check a replicated image repository once: it must hold the image that was pushed, with every blob.

    Raises:
        NotYet: Some of it is missing, and the deadline is not over.
        Failed: Some is missing, and it is.
        Corrupt: The tag names another image, or some of one that was proven here is not there any more.
    """
    context, target, source = job.context, job.context.images[name], job.context.topology.replicas[name].source
    check_not_withdrawn(job, version, name)
    with context.state.read() as conn:
        placement = placements.get(conn, version.id, name)
        base_digest = base_images.over(conn, job.release.id).get(
            (version.id, source)
        )  # in there once this release has it there
        pushed = images.over(conn, version.id, source, base_digest) if base_digest else None
        there = images.over(conn, version.id, name, base_digest) if base_digest else None
    if placement.phase is not PlacementPhase.SEALED:
        record_partial(job, version, name, PlacementPhase.COPYING)
    if pushed is None:
        _wait(job, placement, _Missing(f"the image of {manifest}", "itself", {}, "repository"))
    found = target.arrival(pushed.tag, pushed.digest)
    what = f"{target.repository}:{pushed.tag}"
    if found.other is not None:
        raise Corrupt(
            f"{name}: {what} is sha256:{found.other}, sha256:{pushed.digest} was pushed to {source}",
            hint="another tool pushed this tag there; syncd never moves a tag",
        )
    if found.missing and there is not None and (there.tag, there.repository) == (pushed.tag, target.repository):
        raise Corrupt(
            f"{name}: {what} was whole and lacks {', '.join(found.missing)[:500]}",
            hint=f"to push it again: syncd repair {version.model}@{version.name} --target {name}",
        )
    if found.missing:
        count = f"{len(found.missing)} of {found.blobs} blobs of {pushed.tag}" if found.blobs else pushed.tag
        progress = {"files_total": found.blobs, "files_finished": found.blobs - len(found.missing)}
        _wait(job, placement, _Missing(count, min(found.missing), progress if found.blobs else {}, "repository"))
    _is_complete(job, version, name, pushed)


def _is_complete(job: Attempt, version: Version, name: str, pushed: PlacedImage) -> None:
    """Record an image that was brought, as one that was pushed is."""
    context, target = job.context, job.context.images[name]
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = context.state.now(conn)
        brought = replace(pushed, target=name, repository=target.repository, baked_at=now)
        brought = replace(brought, served_from=target.settings.served_from)
        images.placed(conn, brought)
        base_images.note(conn, ReleaseBase(job.release.id, version.id, name, pushed.base, pushed.base_digest))
        if images.base(conn, version.id, name) is None:
            images.found_base(conn, ImageBase(version.id, name, pushed.base, pushed.base_digest, now))
    record_partial(job, version, name, PlacementPhase.SEALED)
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        detail = {"targets": [name], "image": brought.reference}
        steps.done(conn, job.step.id, job.step.attempt, context.state.now(conn), detail)


@dataclass(frozen=True, slots=True)
class _Missing:
    """What replication has not brought yet, one thing of that, how far it is, and what it is to bring that to."""

    what: str
    such_as: str
    progress: Mapping[str, object]
    place: str


def _wait(job: Attempt, placement: Placement, lacking: _Missing) -> NoReturn:
    context, name = job.context, placement.target
    replica = context.topology.replicas[name]
    with context.state.fenced(job.step.id, job.step.attempt) as conn:
        now = context.state.now(conn)
        since = _since(job, placement) or now
        progress = {**lacking.progress, "release": job.release.id, "since": since.isoformat()}
        placements.note_progress(conn, placement.version_id, name, 0, progress, now)
    waited = now - since
    if waited >= timedelta(seconds=replica.deadline_s):
        raise Failed(
            f"{name}: after {round(waited.total_seconds())} s replication from {replica.source} has not brought "
            f"{lacking.what}, such as {lacking.such_as}",
            hint=f"check the replication rule of the {lacking.place} of {replica.source}, "
            "or raise replication_deadline_s",
        )
    pause_s = max(context.patience.base_s, min(context.patience.cap_s, waited.total_seconds() * _PAUSE))
    message = f"{name}: waiting for {lacking.what} to be replicated from {replica.source}"
    hint = f"nothing is sent to it: its {lacking.place} is filled by replication"
    raise NotYet(message, hint=hint, retry_after_s=pause_s)


def _since(job: Attempt, placement: Placement) -> datetime | None:
    """When this release began to wait. A later release begins again: the replication rule may have been fixed."""
    seen = placement.progress
    return datetime.fromisoformat(str(seen["since"])) if seen.get("release") == job.release.id else None


def _progress(manifest: Manifest, found: Inspection) -> Mapping[str, object]:
    return {
        "bytes_total": manifest.size_bytes,
        "bytes_kept": sum(entry.size_bytes for entry in manifest.entries if entry.path in found.present),
        "files_total": len(manifest.entries),
        "files_finished": len(found.present),
    }


def _problems(found: Inspection) -> str:
    faults = [f"{path}: missing" for path in sorted(found.missing)]
    return "; ".join(faults + [f"{path}: {wrong}" for path, wrong in sorted(found.wrong.items())])
