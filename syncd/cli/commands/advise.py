"""`syncd advise`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.artifact.names import parse_model, parse_version
from syncd.cli import remote
from syncd.cli.output.output import Output, OutputFormat, size, tabulate
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console


def advise(
    which: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", show_default=False)],
    starts: Annotated[
        int | None,
        typer.Option("--starts", min=1, help="Instances that start at once; default: by scaling.", show_default=False),
    ] = None,
    calls: Annotated[
        int | None,
        typer.Option("--calls", min=1, help="Calls at once, shared by instances.", show_default=False),
    ] = None,
    reads_twice: Annotated[
        bool, typer.Option("--reads-twice", help="The application reads each file twice, to hash and to load it.")
    ] = False,
    multi_zone: Annotated[bool, typer.Option("--multi-zone", help="The functions must run in several zones.")] = False,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Advise where a model should live in each region: image, NAS, OSS, or OSS with Accelerator, with reasons.

    The reasons come from the platform's guidance, the version's size and files, the record's history, and how the
    functions scale. Recorded cold starts override the guidance's figures where there are at least three. Without a
    version it is the live one, else the newest.

    Example: syncd advise sdxl@v2 --starts 12
    """
    name, _, ref = which.partition("@")
    model, version = parse_model(name), parse_version(ref) if "@" in which else None
    if server:
        found = remote.asked(
            server,
            token_file,
            lambda client: client.advice(
                model, version, starts=starts, calls=calls, reads_twice=reads_twice, multi_zone=multi_zone
            ),
        )
        Output(output).show(found, lambda console: _text(console, found))
        return
    from syncd.reconcile.views.plans.advice import AdviceQuestion, advice  # noqa: PLC0415 -- the record: not for --server

    with session(config, output, verbose=verbose) as opened:
        question = AdviceQuestion(starts, calls, reads_twice=reads_twice, multi_zone=multi_zone)
        document = advice(opened.world(), model, version, question)
        opened.output.show(document, lambda console: _text(console, document))


def _text(console: Console, found: Mapping[str, Any]) -> None:
    changes = found["changes_a_month"]
    often = "no earlier version" if changes is None else f"{changes:.1f} changes a month"
    head = f"{found['model']}@{found['version']}: {found['files']} files, {size(found['size_bytes'])}, {often}"
    console.print(head, markup=False)
    rows = [
        (
            region["region"],
            region["advice"],
            ", ".join(region["now"]),
            region["functions"],
            "?" if region["peak_starts"] is None else region["peak_starts"],
            f"{region['nas_read_s']:.0f} s",
        )
        for region in found["regions"]
    ]
    tabulate(console, ("REGION", "ADVICE", "NOW", "FUNCTIONS", "STARTS AT ONCE", "READ FROM ONE NAS"), rows)
    for region in found["regions"]:
        console.print(f"{region['region']}: {region['advice']}", markup=False)
        for reason in region["reasons"]:
            console.print(f"   {reason['text']}{_effect(reason)}", markup=False)
            console.print(f"      {reason['rule']}: {reason['source']}", markup=False)


def _effect(reason: Mapping[str, Any]) -> str:
    effects = [("for", reason["favours"]), ("against", reason["against"]), ("excludes", reason["excludes"])]
    shown = [f"{word} {', '.join(kinds)}" for word, kinds in effects if kinds]
    return f" [{'; '.join(shown)}]" if shown else ""
