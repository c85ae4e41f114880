"""Text of a release that is read from the record, for `syncd show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from syncd.cli.output.output import moment, size, span, tabulate
from syncd.plan.phases import RELEASE_ENDS, FlipPhase, PlacementPhase
from syncd.reconcile.views.release import ReleaseView, left_behind, next_step, step_rows
from syncd.state.records import Event, Hold
from syncd.state.releases import holds, releases

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Connection

    from syncd.plan.topology import Topology


@dataclass(frozen=True, slots=True)
class Around:
    """The state around a release: holds, freezes, the daemon."""

    regions: Mapping[str, str]  # of targets and bindings, by name
    held: Hold | None
    newest: str  # the newest release of the model


def around_of(conn: Connection, topology: Topology, scene: ReleaseView) -> Around:
    """Read it from the record."""
    regions = {**topology.regions, **{name: topology.regions[each.runtime] for name, each in topology.bindings.items()}}
    newest = releases.latest(conn, scene.release.model)
    return Around(regions, holds.find(conn, scene.release.model), newest.id if newest else scene.release.id)


def tell(console: Console, scene: ReleaseView, happened: Sequence[Event], around: Around) -> None:
    """Print it for on-call: the outcome and what to do first, the details below."""
    release, version, held = scene.release, scene.version, around.held
    what = "rollback to" if release.rollback else "release of"
    head = f"{release.id}: {what} {release.model}@{release.ref} is {release.phase.value}"
    console.print(head, markup=False, style="bold")
    left = left_behind(release, scene.flips)
    for label, text in (
        ("why:", release.reason),
        *(("base:", f"{b.base} at {b.target}, from {b.was.short} to {b.digest.short}") for b in scene.bases if b.was),
        ("now:", scene.rollout.says if scene.rollout else ""),
        ("left:", f"{', '.join(left)}; still to be moved" if left else ""),
        ("to do:", next_step(scene, held, around.newest)),
        ("moved:", _moved(scene, happened)),
        ("on hold:", f"since {moment(held.since)} by {held.who}: {held.why}" if held else ""),
        ("digest:", f"{version.digest.hex}, {size(version.size_bytes)}" if version else ""),
        ("asked:", f"{moment(release.created_at)} by {release.requested_by}{_until(scene)}"),
    ):
        if text:
            console.print(f"  {label:<8} {text}", markup=False)
    for columns, rows in (
        (("REGION", "BINDING", "WAS", "IS TO BE", "STANDS", "AT"), _bindings(scene, around.regions)),
        (("REGION", "TARGET", "STANDS", "AT"), _targets(scene, around.regions)),
        (("STEP", "OF", "STATE", "ATTEMPT", "FAILED", "BEGAN", "TOOK", "REASON"), _steps(scene)),
        (("FIRST ANSWER", "REGION", "FROM", "COLD", "TOOK", "INSIDE", "LOADING"), _first_answers(scene)),
        (("TIME", "", "EVENT", "OF", "REGION", "DETAIL"), _events(scene, happened, around.regions)),
    ):
        if rows:
            console.print()
            tabulate(console, columns, rows)


def _until(scene: ReleaseView) -> str:
    release = scene.release
    lasted = span((release.updated_at - release.created_at).total_seconds())
    return f", ended {moment(release.updated_at)} after {lasted}" if release.phase in RELEASE_ENDS else ""


def _moved(scene: ReleaseView, happened: Sequence[Event]) -> str:
    """How many aliases were moved, when, and whether they are back."""
    if not scene.flips:
        return "nothing"
    at: dict[str, datetime] = {event.subject: event.at for event in happened if event.kind == "flip.flipped"}
    back = sum(flip.phase is FlipPhase.UNDONE for flip in scene.flips)
    if not at:
        return "nothing"
    text = f"{len(at)} of {len(scene.flips)} aliases, {moment(min(at.values()))} to {moment(max(at.values()))}"
    return f"{text}; {back} are back" if back else text


def _bindings(scene: ReleaseView, regions: Mapping[str, str]) -> list[tuple[object, ...]]:
    return [
        (
            regions.get(f.binding, "-"),
            f.binding,
            f.from_version or "-",
            f.to_version or "-",
            f.phase,
            moment(f.updated_at),
        )
        for f in scene.flips
    ]


def _targets(scene: ReleaseView, regions: Mapping[str, str]) -> list[tuple[object, ...]]:
    """The bytes by target; of a release that moves none, only targets with a problem."""
    return [
        (
            regions.get(p.target, "-"),
            p.target,
            f"{p.phase}: {p.reason or scene.images.get(p.target, '')}".rstrip(": "),
            moment(p.updated_at),
        )
        for p in scene.placements
        if not scene.release.rollback or p.phase is not PlacementPhase.SEALED
    ]


def _steps(scene: ReleaseView) -> list[tuple[object, ...]]:
    return [
        (
            s.step,
            s.subject,
            s.state,
            s.attempt,
            s.failures,
            moment(s.started_at),
            "" if s.seconds is None else f"{s.seconds:.1f}s",
            s.reason,
        )
        for s in step_rows(scene)
    ]


def _first_answers(scene: ReleaseView) -> list[tuple[object, ...]]:
    return [
        (
            t.binding,
            t.region,
            t.target_kind,
            "yes" if t.cold else "no",
            *map(_seconds, (t.answer_ms, t.inside_ms, t.load_ms)),
        )
        for t in scene.times
    ]


def _seconds(ms: int | None) -> str:
    return "" if ms is None else f"{ms / 1000:.3f}s"


def _events(scene: ReleaseView, happened: Sequence[Event], regions: Mapping[str, str]) -> list[tuple[object, ...]]:
    first = happened[0].at if happened else scene.release.created_at
    return [
        (
            moment(e.at),
            f"+{span((e.at - first).total_seconds())}",
            e.kind,
            e.subject,
            regions.get(e.subject, ""),
            _words(e),
        )
        for e in happened
    ]


def _words(event: Event) -> str:
    left_out = {"was", "model", "version", "target", "binding", "queue", "hint"}
    return ", ".join(f"{name}={value}" for name, value in event.detail.items() if name not in left_out and value != "")
