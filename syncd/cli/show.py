"""`syncd show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.artifact.names import parse_model_at_version
from syncd.cli.output import Form, moment, size, span, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile import times
from syncd.reconcile.scene import Scene, parse_release, scene_of, steps_told, story
from syncd.state import events
from syncd.state.records import Event

if TYPE_CHECKING:
    from rich.console import Console


def show(
    release: Annotated[
        str,
        typer.Argument(
            metavar="RELEASE", help="Its id, such as r-7; or MODEL@VERSION for its cold starts.", show_default=False
        ),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Tell a release's whole story: where it stands, every step and every event with its time.

    Of a version: how long its first answers took, by region and kind of target.

    Example: syncd show r-7
    """
    with session(config, output, verbose=verbose) as opened:
        if "@" in release:
            version = times.of_version(opened.state, *parse_model_at_version(release))
            opened.output.show(version, lambda console: _version(console, version))
            return
        scene = scene_of(opened.state, parse_release(release))
        with opened.state.read() as conn:
            happened = events.of_release(conn, release)
        opened.output.show(story(scene, happened), lambda console: _text(console, scene, happened))


def _text(console: Console, scene: Scene, happened: list[Event]) -> None:
    release = scene.release
    what = "rollback to" if release.rollback else "release of"
    console.print(
        f"{release.id}: {what} {release.model}@{release.ref} is {release.phase.value}", markup=False, style="bold"
    )
    if release.reason:
        console.print(f"  why:     {release.reason}", markup=False)
    if release.hint:
        console.print(f"  to do:   {release.hint}", markup=False)
    if scene.version:
        console.print(f"  digest:  {scene.version.digest.hex}, {size(scene.version.size_bytes)}", markup=False)
    console.print(f"  asked:   {moment(release.created_at)} by {release.requested_by}\n", markup=False)
    rows = [
        (
            s["step"],
            s["subject"],
            s["state"],
            s["attempt"],
            s["failures"],
            s["started_at"] and moment(s["started_at"]),  # type: ignore[arg-type]
            "" if s["seconds"] is None else f"{s['seconds']:.1f}s",
            s["reason"],
        )
        for s in steps_told(scene)
    ]
    tabulate(console, ("STEP", "OF", "STATE", "ATTEMPT", "FAILED", "BEGAN", "TOOK", "REASON"), rows)
    if scene.times:
        console.print()
        answers = [
            (
                t.binding,
                t.region,
                t.target_kind,
                "yes" if t.cold else "no",
                *map(_seconds, (t.answer_ms, t.inside_ms, t.load_ms)),
            )
            for t in scene.times
        ]
        tabulate(console, ("FIRST ANSWER", "REGION", "FROM", "COLD", "TOOK", "INSIDE", "LOADING"), answers)
    console.print()
    first = happened[0].at if happened else release.created_at
    told = [(moment(e.at), f"+{span((e.at - first).total_seconds())}", e.kind, e.subject, _words(e)) for e in happened]
    tabulate(console, ("TIME", "", "EVENT", "OF", "DETAIL"), told)


def _seconds(ms: int | None) -> str:
    return "" if ms is None else f"{ms / 1000:.3f}s"


def _version(console: Console, told: dict[str, Any]) -> None:
    head = f"{told['model']}@{told['version']}: {size(told['size_bytes'])}, digest {told['digest']}"
    console.print(head, markup=False, style="bold")
    keys = ("region", "target_kind", "cold_starts", "cold_answer_s", "cold_load_s", "others", "other_answer_s")
    rows = [
        [f"{value:.3f}s" if isinstance(value := row[key], float) else value for key in keys]
        for row in told["first_answers"]
    ]
    tabulate(console, ("REGION", "FROM", "COLD STARTS", "MEDIAN", "LOADING", "OTHERS", "MEDIAN"), rows)


def _words(event: Event) -> str:
    left_out = {"was", "model", "version", "target", "binding", "queue"}
    return ", ".join(f"{name}={value}" for name, value in event.detail.items() if name not in left_out and value != "")
