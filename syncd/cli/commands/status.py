"""`syncd status`: the overview for the person on call."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from syncd.cli import complete, remote
from syncd.cli.output.lost_daemon import lost_text
from syncd.cli.output.output import Output, OutputFormat, left, moment_of, size, tabulate
from syncd.cli.output.refused import refused_text
from syncd.cli.output.screen import WATCH_EVERY_S, redraw
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console

_LIFTED_BY: Final = {
    "held": "`syncd unhold {model}` lifts it",
    "frozen": "`syncd unfreeze {model}` lifts it",
    "quarantined": "publish the new bytes under a new name; once the registry shows the old ones again: "
    "`syncd unquarantine {model}@{version}`",
}


def status(
    model: Annotated[
        str | None, typer.Argument(help="Only this model.", autocompletion=complete.models, show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every second, until Ctrl-C.")] = False,
    starts: Annotated[
        bool, typer.Option("--starts", help="Show recorded cold starts instead, by version, region and storage.")
    ] = False,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Show what is live where, what is in flight, what is stuck and why, and the command that fixes it.

    --starts shows the median and the tail of cold starts that probes have recorded, the stages that they could see, and
    how each version compares with the one before.

    Example: syncd status sdxl
    """
    printed = Output(output)
    if starts:
        _show_starts(printed, model, (server, token_file), config, verbose=verbose)
        return
    if server:
        with remote.connected(server, token_file) as client:
            _show(printed, lambda: client.status(model), server, watch=watch)
        return
    from syncd.reconcile.views.overview import overview  # noqa: PLC0415 -- only beside the record

    with session(config, output, verbose=verbose) as opened:
        _show(printed, lambda: overview(opened.state, opened.topology, model), "", watch=watch)


def _show_starts(
    printed: Output, model: str | None, elsewhere: tuple[str, Path | None], config: Path, *, verbose: bool
) -> None:
    server, token_file = elsewhere
    if server:
        found: Mapping[str, Any] = remote.asked(server, token_file, lambda client: client.starts(model))
    else:
        from syncd.reconcile.views.starts import starts  # noqa: PLC0415 -- only beside the record

        with session(config, printed.form, verbose=verbose) as opened:
            found = starts(opened.state, opened.topology, model)
    printed.show(found, lambda console: _starts_text(console, found))


def _starts_text(console: Console, found: Mapping[str, Any]) -> None:
    if not found["starts"]:
        console.print("no start is recorded yet: the probe of the next release records one", markup=False)
        return
    rows = [
        (
            f"{row['model']}@{row['version']}",
            row["region"],
            row["target_kind"],
            size(row["size_bytes"]),
            row["cold_starts"],
            *("-" if row[key] is None else f"{row[key]:.3f}s" for key in ("median_s", "p95_s")),
            "-" if row["than_before"] is None else f"× {row['than_before']:.2f}",
            ", ".join(f"{name} {seconds:.3f}s" for name, seconds in row["stages_s"].items()) or "-",
        )
        for row in found["starts"]
    ]
    columns = ("VERSION", "REGION", "FROM", "SIZE", "COLD STARTS", "MEDIAN", "95 OF 100", "THAN BEFORE", "STAGES")
    tabulate(console, columns, rows)


def _show(printed: Output, read: Callable[[], Mapping[str, Any]], server: str, *, watch: bool) -> None:
    """Print the status once; with `watch` redraw it on a terminal, and elsewhere print it whenever it has changed."""
    if not watch:
        found = read()
        printed.show(found, lambda console: status_text(console, found, server))
        return
    if printed.form is OutputFormat.TEXT and sys.stdout.isatty():
        redraw(printed, lambda console: status_text(console, read(), server))
    last: Mapping[str, Any] | None = None
    while True:
        found = read()
        if _essence(found) != _essence(last):
            printed.show(found, lambda console, found=found: status_text(console, found, server))  # type: ignore[misc]
        last = found
        time.sleep(WATCH_EVERY_S)


def _essence(found: Mapping[str, Any] | None) -> str:
    """All but the heartbeat of the daemon and the counts of refused callers, which change by themselves."""
    kept = {key: value for key, value in (found or {}).items() if key not in {"daemon", "refused"}}
    return f"{(found or {}).get('daemon') is None} {kept}"


def status_text(console: Console, found: Mapping[str, Any], server: str = "") -> None:
    """Print a status; hints name commands that work from here."""
    daemon = found["daemon"]
    is_locked = any((each["section"], each["name"]) == ("record", "lock") for each in found.get("unhealthy", ()))
    none = "unknown: the record is locked" if is_locked else f"none is running{lost_text(found.get('lost_daemon'))}"
    console.print(f"daemon: {daemon['owner'] if isinstance(daemon, dict) else none}", markup=False)
    if found.get("lost_daemon"):
        console.print(f"   to do: {remote.there('start the daemon: `syncd run`', server)}", markup=False)
    if found["automatic_releases_off"]:
        console.print(f"automatic releases are off: {found['automatic_releases_off']}", markup=False)
        rebuilt = remote.there("`syncd db adopt-world`", server)
        console.print(f"   to do: {rebuilt} rebuilds the record from what is there", markup=False)
    rows = _rows(found["live"])
    tabulate(
        console,
        ("MODEL", "VERSION", "DIGEST", "REGION", "SERVED BY", "SINCE"),
        [
            (
                r["model"],
                r["version"] or "-",
                str(r["digest"] or "-")[:12],
                r["region"],
                f"{r['function']}:{r['alias']} → {r['function_version'] or '-'}",
                moment_of(r["since"])[:-4] + "Z" if r["since"] else "-",
            )
            for r in rows
        ],
    )
    for title, key, line in (
        ("in flight", "in_flight", "{release} {model}@{version} {phase}: {reason}"),
        ("stuck", "stalled", "{release} {model}@{version} {phase}: {reason}"),
        ("on hold", "held", "{model} by {who}: {why}"),
        ("frozen", "frozen", "{model} by {who}: {why}"),
        ("not healthy", "unhealthy", "{section}.{name} since {since}: {reason}"),
        ("new base", "bases", "{region} {target} {model}: {says}"),
        ("drifted", "drifted", "{region} {function}:{alias} {what} is {got}, the record says {want}"),
        ("quarantined", "quarantined", "{model}@{version}: {reason}"),
    ):
        for row in _rows(found.get(key, [])):
            named = "failed, no outage" if row.get("is_live") else title
            said = line.format(**{**row, "since": moment_of(row.get("since"))})
            console.print(f"{named}: {said}".rstrip(": "), markup=False)
            for more in _details(row):
                console.print(f"   {more}", markup=False)
            hint = row.get("hint") or _LIFTED_BY.get(key, "").format(**row).replace(" *`", "`")
            if hint:
                console.print(f"   to do: {remote.there(str(hint), server)}", markup=False)
    refused_text(console, found.get("refused"))
    _damaged(console, found.get("proofs", []))


def _damaged(console: Console, proofs: Sequence[Mapping[str, Any]]) -> None:
    for row in proofs:
        if row["damaged"]:
            console.print(f"damaged: {row['damaged']} of {row['copies']} copies at {row['target']}", markup=False)
            console.print("   to do: `syncd verify --results` names them, `syncd repair` repairs them", markup=False)


def _details(row: Mapping[str, Any]) -> Iterator[str]:
    """Of a release in flight: its copies, the shares of traffic, and the next tries."""
    for copy in row.get("copies", ()):
        rate = f", {size(copy['bytes_per_s'])}/s" if copy["bytes_per_s"] else ""
        sent = f"{size(copy['bytes_done'])} of {size(copy['bytes_total'])}"
        yield f"copy {copy['target']}: {sent}{rate}{left(copy['eta_s'])}"
    shares = [f"{each['binding']} {each['percent']} %" for each in row.get("shares", ())]
    if shares:
        yield f"traffic: {', '.join(shares)}"
    if row.get("is_live"):
        yield f"{row['model']}@{row['version']} is live in every region, as before"
    elif row.get("served"):
        yield f"served meanwhile: {', '.join(row['served'])}"
    for step in row.get("waiting", ()):
        yield f"next try of {step['step']} {step['subject']}: {moment_of(step['due_at'])}"


def _rows(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value
