"""`syncd drift`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli import complete, remote
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat, moment, short, tabulate
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, CliSession, ConfigOption, OutputOption, VerboseOption, session
from syncd.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console


def drift(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="BINDING|MODEL", autocompletion=complete.bindings, help="Only this one.", show_default=False
        ),
    ] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Check every region now, instead of showing the last check.")
    ] = False,
    ended: Annotated[bool, typer.Option("--ended", help="The newest that are over, too.")] = False,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """List manual changes: aliases, their weights, and the parts of LATEST that syncd staged.

    A daemon checks every `policy.drift_poll_s`; `--look` checks now, and changes nothing but the record of it. Exit
    code 0 if all is as recorded, 8 if anything is not.

    Example: syncd drift --look
    """
    document: dict[str, Any] = {"unreached": []}
    if server:
        if look:
            raise Invalid(
                "--look checks the regions from this machine", hint="run it beside the record, without --server"
            )
        document |= remote.asked(server, token_file, lambda there: there.drift(name, ended=ended))
    else:
        with session(config, output, verbose=verbose) as opened:
            document |= _beside_the_record(opened, name, look=look, ended=ended)
    document["good"] = document["good"] and not document["unreached"]
    Output(output).show(document, lambda console: _text(console, document))
    if document["drifted"]:
        return Exit.DIFFERS
    return Exit.UNAVAILABLE if document["unreached"] else Exit.OK


def _beside_the_record(opened: CliSession, name: str | None, *, look: bool, ended: bool) -> dict[str, Any]:
    from syncd.reconcile.drift.resolve import bindings_named  # noqa: PLC0415 -- `--help` needs none of it
    from syncd.reconcile.views.overview import ENDED_MAX, drift_document  # noqa: PLC0415

    names = [
        each.name for each in (bindings_named(opened.topology, name) if name else opened.topology.bindings.values())
    ]
    unseen = _check(opened, names) if look else []
    return {"unreached": unseen} | drift_document(
        opened.state, opened.topology, names, ended_max=ENDED_MAX if ended else 0
    )


def _check(opened: CliSession, names: list[str]) -> list[dict[str, object]]:
    """Compare these bindings now; returns those that could not be compared."""
    from syncd.errors import SyncdError  # noqa: PLC0415 -- as above
    from syncd.reconcile.drift.compare import compare  # noqa: PLC0415

    world = opened.world()
    unseen: list[dict[str, object]] = []
    for name in names:
        try:
            compare(world, opened.topology.bindings[name])
        except SyncdError as error:
            unseen.append({"binding": name, "reason": error.message})
    return unseen


def _text(console: Console, found: Mapping[str, Any]) -> None:
    rows, ended, unseen = found["drifted"], found["ended"], found["unreached"]
    if rows:
        cells = [
            (r["binding"], r["region"], r["what"], short(r["got"], 60), short(r["want"], 60), _since(r)) for r in rows
        ]
        tabulate(console, ("BINDING", "REGION", "WHAT", "GOT", "WANT", "SINCE"), cells)
        for hint in dict.fromkeys(row["hint"] for row in rows):
            console.print(f"   to do: {hint}", markup=False)
    elif not unseen:
        console.print("all is as recorded", markup=False)
    for each in unseen:
        console.print(f"not checked: {each['binding']}: {each['reason']}", markup=False)
    for each in ended:
        was = f"{each['binding']} {each['what']} was {short(each['got'], 60)}"
        console.print(f"over: {was} until {_moment(each['closed_at'])}: {each['closed']}", markup=False)


def _since(row: Mapping[str, Any]) -> str:
    """The interval between two checks in which it changed."""
    return f"{_moment(row['good_at'])} to {_moment(row['found_at'])}"


def _moment(at: datetime | str) -> str:
    """A time from the record or from the API."""
    return moment(datetime.fromisoformat(at) if isinstance(at, str) else at)
