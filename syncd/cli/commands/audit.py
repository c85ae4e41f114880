"""`syncd audit verify` and `syncd audit export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from syncd.cli.commands.receipt import KeyOption, read_receipt
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

_BREAKS_SHOWN_MAX: Final = 100
app = typer.Typer(
    help="Verify the history against its hash chain, and export it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Verify the history against its hash chain, and export it."""


@app.command()
def verify(
    receipt: Annotated[
        list[Path] | None, typer.Option("--receipt", help="A receipt, whose place in the history is compared too.")
    ] = None,
    key: KeyOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Compare every event with the hash chain. An event that was changed, removed or inserted is named; exit code 8.

    Events that have settled and have no link yet are linked afterwards. Anyone who can write the record can also
    write the whole chain anew: only a receipt that is kept elsewhere shows that, and that the end was cut off.

    Example: syncd audit verify --receipt r-7.receipt.json --key receipts.pub.pem
    """
    from syncd.state.releases import audit  # noqa: PLC0415 -- beside the record

    anchors = dict(read_receipt(each, key or []).anchor for each in receipt or [])
    with session(config, output, verbose=verbose) as opened:
        with opened.state.read() as conn:
            found = audit.verify(conn, anchors)
        if not found.breaks:
            with opened.state.write() as conn:
                audit.extend(conn)
        if found.unlinked:
            opened.output.warn(
                f"{found.unlinked} events had no link: nothing shows whether they were changed before now"
            )
        document = {
            "good": not found.breaks,
            "events": found.events,
            "links": found.links,
            "unlinked": found.unlinked,
            "head": {"event": found.head.event_id, "hash": found.head.hash},
            "breaks": [{"event": each.event_id, "what": each.what} for each in found.breaks[:_BREAKS_SHOWN_MAX]],
        }
        lines = [f"event {each.event_id} {each.what}" for each in found.breaks[:_BREAKS_SHOWN_MAX]]
        lines.append(
            f"{found.events} events, {found.links} linked, {len(found.breaks)} breaks; "
            f"the newest link is {found.head.event_id}:{found.head.hash}"
        )
        opened.output.show(document, lambda console: console.print("\n".join(lines), markup=False, soft_wrap=True))
    return Exit.DIFFERS if found.breaks else Exit.OK


@app.command()
def export(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """Print every event with the hash of its link, as JSON lines. Events without a link have none yet.

    Example: syncd audit export
    """
    from syncd.state.releases import audit  # noqa: PLC0415 -- beside the record

    with session(config, output, verbose=verbose) as opened:
        with opened.state.write() as conn:
            audit.extend(conn)
        with opened.state.read() as conn:
            for event, link in audit.pairs(conn):
                if event is not None:
                    line = {**event, "hash": link.hash if link else None}
                    typer.echo(json.dumps(line, ensure_ascii=False, separators=(",", ":"), sort_keys=True))
