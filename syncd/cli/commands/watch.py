"""`syncd watch`."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncd.artifact.names import parse_model
from syncd.cli import complete, remote
from syncd.cli.commands.status import status_text
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat, moment_of
from syncd.cli.output.screen import redraw
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.errors import Unavailable

if TYPE_CHECKING:
    from syncd.client import Client

_RELEASE: Final = re.compile(r"r-[0-9]{1,18}")
_POLL_S: Final = 0.5
_BATCH_MAX: Final = 100
_AGAIN_S: Final = 2.0
_SHOWN: Final = 12  # events above the table
_LEFT_OUT: Final = frozenset({"was", "model", "version", "target", "binding", "queue", "hint"})

Event = Mapping[str, Any]


def watch(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[RELEASE|MODEL]",
            help="Else everything.",
            autocompletion=complete.releases_and_models,
            show_default=False,
        ),
    ] = None,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Follow a release until it ends; or a model, or everything, until Ctrl-C.

    On a terminal a live table, with the events above it; elsewhere a line for each change, with -o json one document a
    line. Ctrl-C ends only the watching.

    Exit codes: 0 the release is live, 5 it ended otherwise.

    Example: syncd watch r-12
    """
    is_release = what is not None and _RELEASE.fullmatch(what) is not None
    model = None if what is None or is_release else parse_model(what)
    printed = Output(output)
    if server:
        with remote.connected(server, token_file) as client:
            if is_release and what is not None:
                see = remote.Display(printed, wait=True, timeout_s=0.0)
                return remote.execute(server, token_file, lambda there: there.release(what), see)
            client.status(model)  # a model that there is not ends the command here
            return _follow(printed, lambda: _events_there(client), lambda: client.status(model), model, server)
    return _beside_the_record(printed, config, model, what if is_release else None, verbose=verbose)


def _beside_the_record(printed: Output, config: Path, model: str | None, release: str | None, *, verbose: bool) -> int:
    from syncd.cli.execute import watch_release  # noqa: PLC0415 -- only beside the record
    from syncd.reconcile.views.overview import overview  # noqa: PLC0415
    from syncd.reconcile.views.release import streamed  # noqa: PLC0415
    from syncd.state.releases import events  # noqa: PLC0415

    with session(config, printed.form, verbose=verbose) as opened:
        if release is not None:
            return watch_release(opened, release)

        def happening() -> Iterator[Event]:
            with opened.state.read() as conn:
                after = events.newest(conn)
            while True:
                with opened.state.read() as conn:
                    found = events.after(conn, after, _BATCH_MAX)
                for event in found:
                    after = event.id
                    yield streamed(event)
                if len(found) < _BATCH_MAX:
                    time.sleep(_POLL_S)

        def read() -> Mapping[str, Any]:
            return overview(opened.state, opened.topology, model)

        read()  # a model that there is not ends the command here
        return _follow(printed, happening, read, model, "")


def _events_there(client: Client) -> Iterator[Event]:
    """Events of a daemon; a connection that breaks is opened again after the last one."""
    after: int | None = None
    while True:
        try:
            for event in client.events(after):
                after = int(event["id"])
                yield event
        except Unavailable as error:
            sys.stderr.write(f"note: {error.message}; trying again\n")
        time.sleep(_AGAIN_S)


def _follow(
    printed: Output,
    happening: Callable[[], Iterator[Event]],
    read: Callable[[], Mapping[str, Any]],
    model: str | None,
    server: str,
) -> int:
    models = {row["release"]: row["model"] for row in read()["in_flight"]}
    shown = (event for event in happening() if model is None or _model_of(event, models) == model)
    if printed.form is OutputFormat.TEXT and sys.stdout.isatty():
        lines: list[str] = []

        def collect() -> None:
            for event in shown:
                lines.append(_line(event))  # noqa: PERF401 -- one at a time, as they happen

        threading.Thread(target=collect, name="events", daemon=True).start()

        def draw(console: Any) -> None:
            for line in lines[-_SHOWN:]:
                console.print(line, markup=False, overflow="ellipsis", no_wrap=True)
            status_text(console, read(), server)

        redraw(printed, draw)
    for event in shown:
        printed.show(event, lambda console, event=event: console.print(_line(event), markup=False))  # type: ignore[misc]
        sys.stdout.flush()
    return Exit.OK


def _model_of(event: Event, models: dict[str, str]) -> str | None:
    """The model that an event is about. `models` are those of releases, and learns: only the first event has it."""
    named = event["detail"].get("model")
    if event["release"] and named:
        models[event["release"]] = str(named)
    return models.get(event["release"]) or named or str(event["subject"]).partition("@")[0]


def _line(event: Event) -> str:
    kept = ", ".join(f"{key}={value}" for key, value in event["detail"].items() if key not in _LEFT_OUT and value != "")
    parts = (moment_of(event["at"]), event["release"] or "", event["kind"], event["subject"], kept)
    return " ".join(part for part in parts if part)
