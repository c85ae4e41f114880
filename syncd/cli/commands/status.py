"""`syncd status`: the overview for the person on call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from syncd.cli.output.output import OutputFormat, moment, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile.views.overview import overview

if TYPE_CHECKING:
    from rich.console import Console

_LIFTED_BY: Final = {
    "held": "`syncd unhold {model}` lifts it",
    "frozen": "`syncd unfreeze {model}` lifts it",
    "quarantined": "publish the new bytes under a new name; once the registry shows the old ones again: "
    "`syncd unquarantine {model}@{version}`",
}


def status(
    model: Annotated[str | None, typer.Argument(help="Only this model.", show_default=False)] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Show what is live where, what is in flight, what is stuck and why, and the command that fixes it.

    Example: syncd status sdxl
    """
    with session(config, output, verbose=verbose) as opened:
        found = overview(opened.state, opened.topology, model)
        opened.output.show(found, lambda console: _text(console, found))


def _text(console: Console, found: Mapping[str, object]) -> None:
    daemon = found["daemon"]
    console.print(f"daemon: {daemon['owner']}" if isinstance(daemon, dict) else "daemon: none is running", markup=False)
    if found["automatic_releases_off"]:
        console.print(f"automatic releases are off: {found['automatic_releases_off']}", markup=False)
        console.print("   to do: `syncd db adopt-world` rebuilds the record from what is there", markup=False)
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
                moment(r["since"])[:-4] + "Z" if r["since"] else "-",  # type: ignore[arg-type]
            )
            for r in rows
        ],
    )
    for title, key, line in (
        ("in flight", "in_flight", "{release} {model}@{version} {phase}: {reason}"),
        ("stuck", "stalled", "{release} {model}@{version} {phase}: {reason}"),
        ("on hold", "held", "{model} by {who}: {why}"),
        ("frozen", "frozen", "{model} by {who}: {why}"),
        ("new base", "bases", "{region} {target} {model}: {says}"),
        ("drifted", "drifted", "{region} {function}:{alias} {what} is {got}, the record says {want}"),
        ("quarantined", "quarantined", "{model}@{version}: {reason}"),
    ):
        for row in _rows(found[key]):
            console.print(f"{title}: {line.format(**row)}".rstrip(": "), markup=False)
            hint = row.get("hint") or _LIFTED_BY.get(key, "").format(**row).replace(" *`", "`")
            if hint:
                console.print(f"   to do: {hint}", markup=False)


def _rows(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value
