"""Show a release as it goes: bars on a terminal, lines in a pipe, one JSON document a second with `-o json`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from syncd.cli.output import Form, Output, size, span
from syncd.errors import Failed
from syncd.plan.phases import RELEASE_ENDS, PlacementPhase, ReleasePhase, StepState
from syncd.state import flips, placements, releases, steps, versions
from syncd.state.records import Flip, Placement, Release, Step, Version
from syncd.state.state import State

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_S: Final = 0.25
LINE_EVERY_S: Final = 1.0
FILES_SHOWN: Final = 3


class NotLive(Failed):
    """The release ended, and is not live."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A release with all that bears on it, read at one moment."""

    release: Release
    version: Version | None
    placements: list[Placement]
    steps: list[Step]
    flips: list[Flip]


def scene_of(state: State, release_id: str) -> Scene:
    """Read one release. Raises NotFound."""
    with state.read() as conn:
        release = releases.get(conn, release_id)
        version = versions.get(conn, release.version_id) if release.version_id else None
        placed = placements.of_version(conn, version.id) if version else []
        return Scene(release, version, placed, steps.of_release(conn, release_id), flips.of_release(conn, release_id))


@dataclass
class Rates:
    """Bytes a second per target, from what the record says now and said before."""

    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)
    _rate: dict[str, float] = field(default_factory=dict)

    def of(self, placement: Placement, now_s: float) -> float:
        """How fast bytes arrive at one target, sent or copied there; smoothed over the last few looks."""
        moved = _sum(placement, "bytes_sent", "bytes_copied")
        before_s, before_bytes = self._seen.setdefault(placement.target, (now_s, moved))
        if moved != before_bytes and now_s > before_s:
            fresh = (moved - before_bytes) / (now_s - before_s)
            old = self._rate.get(placement.target, fresh)
            self._rate[placement.target] = max(0.0, 0.5 * old + 0.5 * fresh)
            self._seen[placement.target] = (now_s, moved)
        return self._rate.get(placement.target, 0.0)


def follow(state: State, release_id: str, output: Output, *, proceed: Callable[[], bool]) -> Scene:
    """Show the release until it ends or `proceed` says to stop looking; returns the last look."""
    rates = Rates()
    if output.form is Form.TEXT and sys.stdout.isatty():
        from rich.live import Live as Screen  # noqa: PLC0415

        with Screen(console=output.console, refresh_per_second=4, transient=True) as screen:
            return _look_on(state, release_id, proceed, lambda scene: screen.update(picture(scene, rates)))
    told: dict[str, str] = {}

    def tell(scene: Scene) -> None:
        if output.form is Form.JSON:
            output.line({"event": "progress", **document(scene, rates)})
        else:
            _print_changes(output, scene, told)

    return _look_on(state, release_id, proceed, _every(LINE_EVERY_S if output.form is Form.JSON else 0.0, tell))


def ended_well(scene: Scene, *, going_back: bool = False) -> None:
    """Raises NotLive, with the reason and the hint, where the release ended and is not live.

    For who is `going_back`, a release that was undone in the middle of its flips is what was asked for; a rollback
    that was itself undone is not.
    """
    release = scene.release
    undone_as_asked = going_back and release.phase is ReleasePhase.UNDONE and not release.rollback
    if release.phase in RELEASE_ENDS and release.phase is not ReleasePhase.LIVE and not undone_as_asked:
        raise NotLive(
            f"{release.id} {release.model}@{release.ref} is {release.phase}: {release.reason}",
            hint=release.hint or f"`syncd show {release.id}` tells what happened",
        )


def document(scene: Scene, rates: Rates | None = None) -> dict[str, object]:
    """The release as JSON."""
    release, version = scene.release, scene.version
    now_s = time.monotonic()
    return {
        "release": release.id,
        "model": release.model,
        "version": release.ref,
        "digest": version.digest.hex if version else None,
        "phase": release.phase,
        "rollback": release.rollback,
        "reason": release.reason,
        "hint": release.hint,
        "requested_by": release.requested_by,
        "created_at": release.created_at,
        "updated_at": release.updated_at,
        "targets": [_target(placement, version, rates, now_s) for placement in scene.placements],
        "bindings": [
            {"binding": f.binding, "phase": f.phase, "from": f.from_version, "to": f.to_version} for f in scene.flips
        ],
        "stuck": [
            {"step": s.kind, "subject": s.subject, "state": s.state, "failures": s.failures, "reason": s.reason}
            for s in scene.steps
            if s.reason and s.state in {StepState.WAITING, StepState.STALLED}
        ],
    }


def _target(placement: Placement, version: Version | None, rates: Rates | None, now_s: float) -> dict[str, object]:
    total = version.size_bytes if version else 0
    copying = placement.phase is PlacementPhase.COPYING and rates is not None
    rate = rates.of(placement, now_s) if rates is not None and copying else 0.0
    return {
        "target": placement.target,
        "phase": placement.phase,
        "bytes_total": total,
        "bytes_per_s": round(rate),
        "eta_s": round((total - _arrived(placement)) / rate, 1) if rate else None,
        **placement.progress,
    }


def picture(scene: Scene, rates: Rates) -> Table:
    """The release as a table that is drawn again and again."""
    release = scene.release
    rows: list[tuple[str, str, str]] = [("release", release.phase.value, release.reason)]
    total = scene.version.size_bytes if scene.version else 0
    now_s = time.monotonic()
    for placement in scene.placements:
        rows.append((placement.target, placement.phase.value, _bar(placement, total, rates.of(placement, now_s))))
        rows += [(f"  {path}", "", _share(done, of)) for path, done, of in _active(placement)]
    rows += [(f.binding, f.phase.value, f"{f.from_version or '-'} → {f.to_version or '…'}") for f in scene.flips]
    rows += [
        (f"{s.kind} {s.subject}", "waits", s.reason) for s in scene.steps if s.state is StepState.WAITING and s.reason
    ]
    from syncd.cli.tables import table  # noqa: PLC0415 -- rich, on a terminal only

    return table((f"{release.id} {release.model}@{release.ref}", "phase", ""), rows)


def _bar(placement: Placement, total: int, rate: float) -> str:
    if placement.phase is not PlacementPhase.COPYING:
        return size(total)
    arrived = _arrived(placement)
    eta = f", {span((total - arrived) / rate)} left" if rate else ""
    return f"{_share(arrived, total)}{f', {size(rate)}/s' if rate else ''}{eta}"


def _share(done: int, total: int) -> str:
    filled = int(20 * done / total) if total else 20
    return f"{'█' * filled}{'░' * (20 - filled)} {size(done)} of {size(total)}"


def _arrived(placement: Placement) -> int:
    return _sum(placement, "bytes_sent", "bytes_kept", "bytes_copied")


def _sum(placement: Placement, *counters: str) -> int:
    seen: Mapping[str, object] = placement.progress
    return sum(int(str(seen.get(key, 0))) for key in counters)


def _active(placement: Placement) -> list[tuple[str, int, int]]:
    if placement.phase is not PlacementPhase.COPYING:
        return []
    files = placement.progress.get("files", ())
    assert isinstance(files, list | tuple)
    return [(str(path), int(done), int(of)) for path, done, of in files[:FILES_SHOWN]]


def _look_on(state: State, release_id: str, proceed: Callable[[], bool], tell: Callable[[Scene], None]) -> Scene:
    while True:
        scene = scene_of(state, release_id)
        tell(scene)
        if scene.release.phase in RELEASE_ENDS or not proceed():
            return scene
        time.sleep(REFRESH_S)


def _every(seconds: float, tell: Callable[[Scene], None]) -> Callable[[Scene], None]:
    last: list[float] = []

    def now_and_then(scene: Scene) -> None:
        now_s = time.monotonic()
        if not last or now_s - last[0] >= seconds or scene.release.phase in RELEASE_ENDS:
            last[:] = [now_s]
            tell(scene)

    return now_and_then


def _print_changes(output: Output, scene: Scene, told: dict[str, str]) -> None:
    """In a pipe or a log: one line whenever something has changed its phase, none for mere bytes."""
    release = scene.release
    now = {"release": f"{release.phase} {release.reason}".strip()}
    now |= {p.target: f"{p.phase} {p.reason}".strip() for p in scene.placements}
    now |= {f.binding: f"{f.phase} function version {f.to_version or '-'}" for f in scene.flips}
    now |= {f"{s.kind} {s.subject}": s.reason for s in scene.steps if s.reason and s.state is StepState.WAITING}
    for what, how in now.items():
        if told.get(what) != how:
            told[what] = how
            output.console.print(f"{release.id} {what}: {how}", markup=False)
