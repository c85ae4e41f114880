"""Release view: a release with its placements, steps, flips and events, as the commands and the API show it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from syncd.errors import NotFound
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepState
from syncd.reconcile.requests.operations import Retried
from syncd.reconcile.views import cold_starts
from syncd.reconcile.views.resolution import resolution
from syncd.reconcile.views.rollout import rollout_of
from syncd.reconcile.views.shapes.base import known
from syncd.reconcile.views.shapes.releases import (
    BaseUpdateDocument,
    EventDocument,
    FlipDocument,
    ListedReleaseDocument,
    PlacementDocument,
    ReleaseDetailDocument,
    ReleaseHistoryDocument,
    ReleasesDocument,
    RetriedDocument,
    RetriedReleaseDocument,
    StepDocument,
    StreamedEventDocument,
    StuckStepDocument,
)
from syncd.reconcile.views.shapes.rollouts import RolloutDocument
from syncd.reconcile.views.shapes.serving import ApprovalDocument
from syncd.state.content import base_images, images, placements, versions
from syncd.state.records import Approval, Event, Flip, Hold, LoadTime, Placement, Release, ReleaseBase, Step, Version
from syncd.state.releases import releases, steps
from syncd.state.serving import flips, load_times
from syncd.state.state import State

_ID: Final = re.compile(r"r-[0-9]{1,18}")
_SHOWN_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """A release and everything related to it, read in one transaction."""

    release: Release
    version: Version | None
    placements: list[Placement]
    steps: list[Step]
    flips: list[Flip]
    times: Sequence[LoadTime] = ()
    rollout: RolloutDocument | None = None  # its position, if it moves in stages
    images: Mapping[str, str] = field(default_factory=dict)  # target -> the version's image there, if it has one
    bases: Sequence[ReleaseBase] = ()  # new ones that it was started for


def load(state: State, release_id: str) -> ReleaseView:
    """Read one release. Raises NotFound."""
    with state.read() as conn:
        release = releases.get(conn, release_id)
        version = versions.get(conn, release.version_id) if release.version_id else None
        placed = placements.of_version(conn, version.id) if version else []
        moving = flips.of_release(conn, release_id)
        return ReleaseView(
            release,
            version,
            placed,
            steps.of_release(conn, release_id),
            moving,
            load_times.of_release(conn, release_id),
            rollout_of(conn, release, moving, state.now(conn)),
            _images(conn, release.id, version.id) if version else {},
            [each for each in base_images.of_release(conn, release_id) if each.was],
        )


def _images(conn: Connection, release_id: str, version_id: str) -> dict[str, str]:
    """The images of a version as this release has them: a later release may have rebuilt it over another base."""
    over = {
        each.target: each.digest for each in base_images.of_release(conn, release_id) if each.version_id == version_id
    }
    return {target: image.reference for target, image in images.chosen(conn, version_id, over).items()}


def next_step(scene: ReleaseView, held: Hold | None, newest: str) -> str:
    """Advice on a release; `held` is the hold on its model, `newest` the model's newest release."""
    release = scene.release
    model = release.model
    match release.phase:
        case ReleasePhase.LIVE | ReleasePhase.STALLED | ReleasePhase.UNDONE if release.id != newest:
            return f"nothing: {newest} came after it"
        case ReleasePhase.LIVE if held:
            return f"nothing; `syncd unhold {model}` permits newer versions"
        case ReleasePhase.LIVE:
            return f"nothing; `syncd rollback {model}` returns to the previous version"
        case ReleasePhase.STALLED | ReleasePhase.UNDONE:
            return resolution(release, held, is_rebuilt=bool(scene.bases))
        case ReleasePhase.SUPERSEDED | ReleasePhase.CANCELLED:
            return "nothing"
        case _:
            waiting = [step for step in scene.steps if step.state is StepState.WAITING and step.reason]
            hints = [hint for hint in (*(step.hint for step in waiting), release.hint) if hint]
            if hints:
                return hints[0]
            return "it retries by itself; the steps below show what fails" if waiting else "nothing; it is in flight"


def parse_release(text: str) -> str:
    """Parse a release's id, such as `r-7`. Raises NotFound for anything else."""
    if not _ID.fullmatch(text):
        shown = ascii(text) if len(text) <= _SHOWN_MAX else ascii(text[:_SHOWN_MAX]) + "…"
        raise NotFound(f"there is no release {shown}", hint="list them with: syncd releases")
    return text


@dataclass
class Rates:
    """Transfer rates of targets in bytes a second, from successive readings of the record."""

    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)
    _rate: dict[str, float] = field(default_factory=dict)

    def of(self, placement: Placement, now_s: float) -> float:
        """The rate at which bytes are sent or copied to one target, smoothed over the last few readings."""
        moved = _sum(placement, "bytes_sent", "bytes_copied")
        before_s, before_bytes = self._seen.setdefault(placement.target, (now_s, moved))
        if moved != before_bytes and now_s > before_s:
            fresh = (moved - before_bytes) / (now_s - before_s)
            old = self._rate.get(placement.target, fresh)
            self._rate[placement.target] = max(0.0, 0.5 * old + 0.5 * fresh)
            self._seen[placement.target] = (now_s, moved)
        return self._rate.get(placement.target, 0.0)


def document(scene: ReleaseView, rates: Rates | None = None) -> dict[str, Any]:
    """The release as JSON."""
    return ReleaseDetailDocument(**_parts(scene, rates)).as_json()


def _parts(scene: ReleaseView, rates: Rates | None = None) -> dict[str, Any]:
    now_s = time.monotonic()
    return {
        **_listed(scene.release),
        "digest": scene.version.digest.hex if scene.version else None,
        "targets": [_target(scene, placement, rates, now_s) for placement in scene.placements],
        "bindings": [
            FlipDocument(binding=f.binding, phase=f.phase, from_version=f.from_version, to_version=f.to_version)
            for f in scene.flips
        ],
        "rollout": scene.rollout,
        "left_behind": left_behind(scene.release, scene.flips),
        "stuck": [
            StuckStepDocument(
                step=s.kind,
                subject=s.subject,
                state=s.state,
                failures=s.failures,
                reason=s.reason,
                next_try=s.due_at if s.state is StepState.WAITING else None,
            )
            for s in scene.steps
            if s.reason and s.state in {StepState.WAITING, StepState.STALLED}
        ],
    }


def _base(scene: ReleaseView, target: str) -> dict[str, BaseUpdateDocument]:
    new = next((each for each in scene.bases if each.target == target), None)
    if new is None or new.was is None:
        return {}
    return {"base": BaseUpdateDocument(name=new.base, digest=new.was.hex, new_digest=new.digest.hex)}


def left_behind(release: Release, moving: Sequence[Flip]) -> list[str]:
    """The bindings that a release went live without."""
    return [f.binding for f in moving if release.phase is ReleasePhase.LIVE and f.phase is FlipPhase.ABANDONED]


def _target(scene: ReleaseView, placement: Placement, rates: Rates | None, now_s: float) -> PlacementDocument:
    total = scene.version.size_bytes if scene.version else 0
    copying = placement.phase is PlacementPhase.COPYING and rates is not None
    rate = rates.of(placement, now_s) if rates is not None and copying else 0.0
    found: dict[str, Any] = {
        "target": placement.target,
        "phase": placement.phase,
        "bytes_total": total,
        "bytes_per_s": round(rate),
        "eta_s": round((total - delivered(placement)) / rate, 1) if rate else None,
        **known(PlacementDocument, placement.progress),
        **({"image": scene.images[placement.target]} if placement.target in scene.images else {}),
        **_base(scene, placement.target),
    }
    return PlacementDocument(**found)


def delivered(placement: Placement) -> int:
    """The bytes of a copy in progress that are at their target."""
    return _sum(placement, "bytes_sent", "bytes_kept", "bytes_copied")


def _sum(placement: Placement, *counters: str) -> int:
    seen: Mapping[str, object] = placement.progress
    return sum(int(str(seen.get(key, 0))) for key in counters)


def step_rows(scene: ReleaseView) -> list[StepDocument]:
    """The steps of a release, in the order in which they began."""
    return [
        StepDocument(
            step=s.kind,
            subject=s.subject,
            state=s.state,
            attempt=s.attempt,
            failures=s.failures,
            started_at=s.started_at,
            ended_at=s.ended_at,
            seconds=(s.ended_at - s.started_at).total_seconds() if s.started_at and s.ended_at else None,
            reason=s.reason,
            hint=s.hint,
        )
        for s in sorted(scene.steps, key=lambda step: (step.started_at is None, step.started_at or step.due_at))
    ]


def streamed(event: Event) -> dict[str, Any]:
    """An event as JSON, with its release."""
    return StreamedEventDocument(**_event(event), release=event.release_id).as_json()


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.at,
        "kind": event.kind,
        "subject": event.subject,
        "step": event.step_id,
        "attempt": event.attempt,
        "detail": dict(event.detail),
    }


def history(scene: ReleaseView, happened: Sequence[Event]) -> dict[str, Any]:
    """The full history of a release as JSON: its state, every step and event, and the times of first answers."""
    return history_document(scene, happened).as_json()


def history_document(
    scene: ReleaseView, happened: Sequence[Event], rates: Rates | None = None
) -> ReleaseHistoryDocument:
    """The full history of a release."""
    return ReleaseHistoryDocument(
        **_parts(scene, rates),
        steps=step_rows(scene),
        first_answers=[cold_starts.of_release(time) for time in scene.times],
        events=[EventDocument(**_event(event)) for event in happened],
    )


def approval(given: Approval) -> dict[str, Any]:
    """An approval as JSON."""
    return ApprovalDocument(release=given.release_id, digest=given.digest.hex, who=given.who, at=given.at).as_json()


def release_list(found: Sequence[Release], following: str = "") -> dict[str, Any]:
    """Releases as JSON. `following` is the cursor of the next page, "" if there is none."""
    more = {"next": following} if following else {}
    return ReleasesDocument(releases=[ListedReleaseDocument(**_listed(each)) for each in found], **more).as_json()


def release_line(release: Release) -> dict[str, Any]:
    """A release as JSON, as in a list."""
    return ListedReleaseDocument(**_listed(release)).as_json()


def retried_list(found: Sequence[Retried]) -> dict[str, Any]:
    """The releases whose waiting steps were made due, as JSON."""
    return RetriedDocument(
        releases=[
            RetriedReleaseDocument(
                release=each.release.id,
                model=each.release.model,
                version=each.release.ref,
                phase=each.release.phase,
                steps=list(each.steps),
            )
            for each in found
        ]
    ).as_json()


def _listed(release: Release) -> dict[str, Any]:
    return {
        "release": release.id,
        "model": release.model,
        "version": release.ref,
        "phase": release.phase,
        "rollback": release.rollback,
        "reason": release.reason,
        "hint": release.hint,
        "created_at": release.created_at,
        "updated_at": release.updated_at,
        "requested_by": release.requested_by,
    }
