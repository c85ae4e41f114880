"""Live view of a release: bars on a terminal, lines in a pipe, one JSON document a second with `-o json`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from syncd.cli.output.output import Output, OutputFormat, left, size
from syncd.errors import Failed
from syncd.plan.phases import RELEASE_ENDS, PlacementPhase, ReleasePhase, StepState
from syncd.reconcile.views.release import Rates, ReleaseView, delivered, document, load
from syncd.state.records import Placement, Step
from syncd.state.state import State

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_S: Final = 0.25
LINE_EVERY_S: Final = 1.0
FILES_SHOWN: Final = 3


class ReleaseNotLive(Failed):
    """The release ended, and is not live."""


def follow(state: State, release_id: str, output: Output, *, proceed: Callable[[], bool]) -> ReleaseView:
    """Show the release until it ends or `proceed` returns False; returns the last state."""
    rates = Rates()
    if output.form is OutputFormat.TEXT and sys.stdout.isatty():
        from rich.live import Live as Screen  # noqa: PLC0415

        with Screen(console=output.console, refresh_per_second=4, transient=True) as screen:
            tried: dict[str, int] = {}

            def draw(scene: ReleaseView) -> None:
                for line in _failed_tries(scene, tried):  # these stay above the table
                    screen.console.print(line, markup=False)
                screen.update(picture(scene, rates))

            return _look_on(state, release_id, proceed, draw)
    printed: dict[str, str] = {}

    def tell(scene: ReleaseView) -> None:
        if output.form is OutputFormat.JSON:
            output.line({"event": "progress", **document(scene, rates)})
        else:
            _print_changes(output, scene, printed)

    return _look_on(state, release_id, proceed, _every(LINE_EVERY_S if output.form is OutputFormat.JSON else 0.0, tell))


def ended_well(scene: ReleaseView, *, going_back: bool = False) -> None:
    """Raises NotLive, with the reason and the hint, where the release ended and is not live.

    With `going_back`, a release that was undone in the middle of its flips counts as success; a rollback
    that was itself undone is not.
    """
    release = scene.release
    undone_as_asked = going_back and release.phase is ReleasePhase.UNDONE and not release.rollback
    if release.phase in RELEASE_ENDS and release.phase is not ReleasePhase.LIVE and not undone_as_asked:
        raise ReleaseNotLive(
            f"{release.id} {release.model}@{release.ref} is {release.phase}: {release.reason}",
            hint=release.hint or f"`syncd show {release.id}` shows what happened",
        )


def picture(scene: ReleaseView, rates: Rates) -> Table:
    """The release as a table that is redrawn."""
    release = scene.release
    rows: list[tuple[str, str, str]] = [("release", release.phase.value, release.reason)]
    total = scene.version.size_bytes if scene.version else 0
    now_s = time.monotonic()
    for placement in scene.placements:
        rows.append((placement.target, placement.phase.value, _bar(placement, total, rates.of(placement, now_s))))
        rows += [(f"  {path}", "", _share(done, of)) for path, done, of in _active(placement)]
    rows += [(f.binding, f.phase.value, f"{f.from_version or '-'} → {f.to_version or '…'}") for f in scene.flips]
    rows += [
        (f"{s.kind} {s.subject}", "waits", _next_try(s))
        for s in scene.steps
        if s.state is StepState.WAITING and s.reason
    ]
    from syncd.cli.output.tables import table  # noqa: PLC0415 -- rich, on a terminal only

    return table((f"{release.id} {release.model}@{release.ref}", "phase", ""), rows)


def _bar(placement: Placement, total: int, rate: float) -> str:
    if placement.phase is not PlacementPhase.COPYING:
        return size(total)
    there = delivered(placement)
    if not rate:
        return _share(there, total)
    return f"{_share(there, total)}, {size(rate)}/s{left((total - there) / rate)}"


def _share(done: int, total: int) -> str:
    filled = int(20 * done / total) if total else 20
    return f"{'█' * filled}{'░' * (20 - filled)} {size(done)} of {size(total)}"


def _active(placement: Placement) -> list[tuple[str, int, int]]:
    if placement.phase is not PlacementPhase.COPYING:
        return []
    files = placement.progress.get("files", ())
    assert isinstance(files, list | tuple)
    return [(str(path), int(done), int(of)) for path, done, of in files[:FILES_SHOWN]]


def _look_on(
    state: State, release_id: str, proceed: Callable[[], bool], tell: Callable[[ReleaseView], None]
) -> ReleaseView:
    while True:
        scene = load(state, release_id)
        tell(scene)
        if scene.release.phase in RELEASE_ENDS or not proceed():
            return scene
        time.sleep(REFRESH_S)


def _every(seconds: float, tell: Callable[[ReleaseView], None]) -> Callable[[ReleaseView], None]:
    last: list[float] = []

    def now_and_then(scene: ReleaseView) -> None:
        now_s = time.monotonic()
        if not last or now_s - last[0] >= seconds or scene.release.phase in RELEASE_ENDS:
            last[:] = [now_s]
            tell(scene)

    return now_and_then


def _next_try(step: Step) -> str:
    """Why it waits, how often it failed, and when it is tried again."""
    return f"{step.reason} (tried {step.failures}×, next try {step.due_at:%H:%M:%S}Z)"


def _failed_tries(scene: ReleaseView, tried: dict[str, int]) -> Iterator[str]:
    """A line for each failed try since the last look."""
    for step in scene.steps:
        if step.state is StepState.WAITING and step.failures > tried.get(step.id, 0):
            tried[step.id] = step.failures
            yield f"{scene.release.id} {step.kind} {step.subject}: {_next_try(step)}"


def _print_changes(output: Output, scene: ReleaseView, printed: dict[str, str]) -> None:
    """In a pipe or a log: one line whenever something has changed its phase, none for mere bytes."""
    release = scene.release
    now = {"release": f"{release.phase} {release.reason}".strip()}
    now |= {p.target: f"{p.phase} {p.reason}".strip() for p in scene.placements}
    now |= {f.binding: f"{f.phase} function version {f.to_version or '-'}" for f in scene.flips}
    now |= {
        f"{s.kind} {s.subject}": _next_try(s) if s.failures else s.reason
        for s in scene.steps
        if s.reason and s.state is StepState.WAITING
    }
    for what, how in now.items():
        if printed.get(what) != how:
            printed[what] = how
            output.console.print(f"{release.id} {what}: {how}", markup=False)
