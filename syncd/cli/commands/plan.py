"""`syncd plan`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat, moment_at, size, span, tabulate
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.cost.bill import money

if TYPE_CHECKING:
    from rich.console import Console


def plan(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL@VERSION",
            help="Or another form, as in `publish`.",
            autocompletion=complete.versions,
            show_default=False,
        ),
    ],
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Show what a release would move and flip, with bytes per target. Nothing is changed.

    The bytes to send are an upper limit: parts of a changed file that a target has already are found while the file is
    read, and copied there.

    The time is by the rates of earlier copies to the target, under the bandwidth limits of the hours to come. Costs are
    by the price list of `syncd cost`: what the target will hold more of.

    A release that would exceed a configured quota of instances or GPUs is refused (exit code 9), with the arithmetic.

    Example: syncd plan sdxl@v2
    """
    if server:
        found: Mapping[str, Any] = remote.asked(server, token_file, lambda client: client.plan(name))
    else:
        from syncd.reconcile.views.plans.document import plan_document  # noqa: PLC0415 -- only beside the record

        with session(config, output, verbose=verbose) as opened:
            found = plan_document(opened.world(), name)
    shown = Output(output)
    for warning in found.get("warnings") or ():
        shown.warn(warning)
    shown.show(found, lambda console: _text(console, found))


def _to_do(target: Mapping[str, Any]) -> str:
    if target["sealed"]:
        return "sealed"
    if target["replicated_from"]:
        return f"replicated from {target['replicated_from']}"
    return f"{target['send_files']} layers to push" if target["image"] else "to do"


def _took(target: Mapping[str, Any]) -> str:
    """How long sending takes; unknown before the first copy, unless there is a limit."""
    if not target["send_bytes"]:
        return "-"
    return "unknown" if target.get("seconds") is None else span(target["seconds"])


def _money(totals: Mapping[str, str] | None) -> str:
    if totals is None:
        return "unknown"
    shown = [money(None if text == "unknown" else Decimal(text), currency) for currency, text in totals.items()]
    return " + ".join(shown).strip() or "-"


def _text(console: Console, found: Mapping[str, Any]) -> None:
    named = f"{found['model']}@{found['version']}"
    head = f"{named}: {found['files']} files, {size(found['bytes'])}, digest {found['digest'][:12]}"
    console.print(head, markup=False)
    rows = [
        (
            t["target"],
            t["region"],
            _to_do(t),
            size(t["send_bytes"]),
            size(t["copied_bytes"]),
            size(t["kept_bytes"]),
            _took(t),
            _money(t.get("monthly")),
            _money(t.get("once")),
        )
        for t in found["targets"]
    ]
    columns = ("TARGET", "REGION", "", "SEND AT MOST", "COPY THERE", "KEEP", "TAKES", "COSTS A MONTH", "COSTS ONCE")
    tabulate(console, columns, rows)
    for each in found["targets"]:
        if each["base"]:
            new = each["base"]
            digests = f"was {new['digest'][:12]}, is {new['new_digest'][:12]}"
            seen = f"{moment_at(new['seen_at']):%Y-%m-%d %H:%M:%S} UTC"
            console.print(f"{each['target']}: base {new['name']} {digests} (seen {seen})", markup=False)
    moves = [
        (f["binding"], f["region"], f"{f['function']}:{f['alias']}", f"{f['from'] or '-'} → {found['version']}")
        for f in found["flips"]
    ]
    tabulate(console, ("BINDING", "REGION", "ALIAS", "FLIP"), moves)
    stages = found["steps"]
    if len(stages) > 1 or any(stage["pause_s"] for stage in stages):
        steps = [
            (f"{s['percent']} %", ", ".join(s["regions"]), span(s["pause_s"]) if s["pause_s"] else "") for s in stages
        ]
        tabulate(console, ("STAGE", "REGIONS", "FOR AT LEAST"), steps)
    if trust := found.get("trust"):
        console.print(f"trust policy: {trust['outcome']}", markup=False)
        for each in trust["findings"]:
            console.print(f"  {each['subject']}: {each['reason']} ({each['remedy']})", markup=False)
