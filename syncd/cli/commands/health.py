"""`syncd health`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncd.cli import remote
from syncd.cli.exit_codes import Exit
from syncd.cli.output.lost_daemon import lost_text
from syncd.cli.output.output import Output, OutputFormat, moment_of, tabulate
from syncd.cli.output.refused import refused_text
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console

_CODES: Final = {"good": Exit.OK, "degraded": Exit.DEGRADED, "bad": Exit.UNAVAILABLE}
NO_DAEMON: Final = "no daemon reported in the last 30 seconds"


def health(
    liveness: Annotated[
        bool, typer.Option("--liveness", help="Only whether a daemon works on this record: 0 or 7.")
    ] = False,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Show whether the daemon, and all that it works with, is well: each registry, target, access key and runtime.

    Exit code 0 if all is good, 11 if something is degraded, 7 if no daemon reported within 30 seconds or the record
    cannot be read or written. For liveness probes: --liveness, since a restart does not end an outage elsewhere.

    Example: syncd health
    """
    printed = Output(output)
    found = remote.asked(server, token_file, lambda there: there.health()) if server else _here(config, output, verbose)
    if liveness:
        text = f"alive: {found['processes'][0]['owner']}" if found["alive"] else NO_DAEMON
        shown = {"alive": found["alive"], "processes": found["processes"]}
        printed.show(shown, lambda console: console.print(text, markup=False))
        return Exit.OK if found["alive"] else Exit.UNAVAILABLE
    printed.show(found, lambda console: _text(console, found, server))
    return _CODES[found["status"]]


def _here(config: Path, output: OutputFormat, verbose: bool) -> Mapping[str, Any]:  # noqa: FBT001 -- as given
    from syncd.reconcile.views.health import health as found  # noqa: PLC0415 -- only beside the record

    with session(config, output, verbose=verbose) as opened:
        return found(opened.state, opened.topology).as_json()


def _text(console: Console, found: Mapping[str, Any], server: str) -> None:
    processes, components = found["processes"], found["components"]
    console.print(f"health: {found['status']}", markup=False)
    none = f"{NO_DAEMON}{lost_text(found.get('lost'))}"
    console.print(f"daemon: {processes[0]['owner'] if processes else none}", markup=False)
    cells = [
        (f"{each['section']}.{each['name']}", each["state"], moment_of(each["since"]), each["reason"] or "-")
        for each in components
    ]
    tabulate(console, ("COMPONENT", "STATE", "SINCE", "REASON"), cells)
    refused_text(console, found.get("refused"))
    if not processes and not any((each["section"], each["name"]) == ("record", "lock") for each in components):
        console.print("   to do: start the daemon: syncd run", markup=False)
    for hint in dict.fromkeys(each["hint"] for each in components if each["hint"]):
        console.print(f"   to do: {remote.there(hint, server)}", markup=False)
