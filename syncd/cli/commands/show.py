"""`syncd show`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncd.artifact.names import parse_model_at_version
from syncd.cli import remote
from syncd.cli.output.output import Output, OutputFormat, size, tabulate
from syncd.cli.output.release_document import release_text
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console

MACHINERY: Final = ("step.queued", "step.started", "step.done", "flip.claimed", "flip.done", "placement.wanted")


def show(
    release: Annotated[
        str,
        typer.Argument(
            metavar="RELEASE", help="Its id, such as r-7; or MODEL@VERSION for its cold starts.", show_default=False
        ),
    ],
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Show a release: its state, what to do, each region, every step and every event.

    With --verbose internal events are shown too; -o json always has all of them. For a version: the times of
    its first answers, by region and kind of target.

    Example: syncd show r-7
    """
    if server:
        _from_there(server, token_file, release, Output(output), verbose=verbose)
        return
    from syncd.cli.output.recorded_release import around_of, tell  # noqa: PLC0415 -- only beside the record
    from syncd.reconcile.views import cold_starts  # noqa: PLC0415 -- as above
    from syncd.reconcile.views.release import history, load, parse_release  # noqa: PLC0415 -- as above
    from syncd.state.releases import events  # noqa: PLC0415 -- as above

    with session(config, output, verbose=verbose) as opened:
        if "@" in release:
            version = cold_starts.of_version(opened.state, *parse_model_at_version(release))
            opened.output.show(version, lambda console: _version(console, version))
            return
        scene = load(opened.state, parse_release(release))
        with opened.state.read() as conn:
            happened = events.of_release(conn, release)
            around = around_of(conn, opened.topology, scene)
        shown = [event for event in happened if verbose or event.kind not in MACHINERY]
        opened.output.show(history(scene, happened), lambda console: tell(console, scene, shown, around))


def _from_there(server: str, token_file: Path | None, release: str, printed: Output, *, verbose: bool) -> None:
    if "@" in release:
        model, name = parse_model_at_version(release)
        version = remote.asked(server, token_file, lambda client: client.version(model, name))
        printed.show(version, lambda console: _version(console, version))
        return
    found = remote.asked(server, token_file, lambda client: client.release(release)).document
    left_out = () if verbose else MACHINERY
    printed.show(found, lambda console: release_text(console, found, server, left_out=left_out))


def _version(console: Console, version: Mapping[str, Any]) -> None:
    head = f"{version['model']}@{version['version']}: {size(version['size_bytes'])}, digest {version['digest']}"
    console.print(head, markup=False, style="bold")
    keys = ("region", "target_kind", "cold_starts", "cold_answer_s", "cold_load_s", "others", "other_answer_s")
    rows = [
        [f"{value:.3f}s" if isinstance(value := row[key], float) else value for key in keys]
        for row in version["first_answers"]
    ]
    tabulate(console, ("REGION", "FROM", "COLD STARTS", "MEDIAN", "LOADING", "OTHERS", "MEDIAN"), rows)
