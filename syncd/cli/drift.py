"""`syncd drift`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.exits import Exit
from syncd.cli.output import Form, moment, short, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, Session, VerboseOption, session
from syncd.reconcile.overview import drifted
from syncd.state import drifts

if TYPE_CHECKING:
    from rich.console import Console

_ENDED_MAX = 20


def drift(
    name: Annotated[
        str | None, typer.Argument(metavar="BINDING|MODEL", help="Only this one.", show_default=False)
    ] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Ask every region now, instead of telling the last look.")
    ] = False,
    ended: Annotated[bool, typer.Option("--ended", help="The newest that are over, too.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """List what was changed by hand: aliases, their weights, and what of LATEST syncd staged.

    A daemon looks every `policy.drift_poll_s`; `--look` looks now, and changes nothing but the record of it. Exit
    code 0 if all is as recorded, 8 if anything is not.

    Example: syncd drift --look
    """
    from syncd.reconcile.mend import bindings_named  # noqa: PLC0415 -- `--help` needs none of it

    with session(config, output, verbose=verbose) as opened:
        names = [each.name for each in (bindings_named(opened.fleet, name) if name else opened.fleet.bindings.values())]
        unseen = _look(opened, names) if look else []
        with opened.state.read() as conn:
            found = drifted(conn, opened.fleet, names)
            looked = {each: drifts.looked(conn, each) for each in names}
            over = drifts.closed_ones(conn, _ENDED_MAX, names) if ended else []
        document: dict[str, object] = {
            "good": not found and not unseen,
            "drifted": found,
            "looked_at": {each: seen.looked_at if seen else None for each, seen in looked.items()},
            "unreached": unseen,
            "ended": [
                {"binding": d.binding, "what": d.what, "got": d.got, "want": d.want, "found_at": d.found_at}
                | {"closed_at": d.closed_at, "closed": d.closed}
                for d in over
            ],
        }
        opened.output.show(document, lambda console: _text(console, document))
        if found:
            return Exit.DIFFERS
        return Exit.UNAVAILABLE if unseen else Exit.OK


def _look(opened: Session, names: list[str]) -> list[dict[str, object]]:
    """Compare these bindings now; the answer is those that could not be."""
    from syncd.errors import SyncdError  # noqa: PLC0415 -- as above
    from syncd.reconcile.drift import compare  # noqa: PLC0415

    looker = opened.looker()
    unseen: list[dict[str, object]] = []
    for name in names:
        try:
            compare(looker, opened.fleet.bindings[name])
        except SyncdError as error:
            unseen.append({"binding": name, "reason": error.message})
    return unseen


def _text(console: Console, found: dict[str, object]) -> None:
    rows, ended, unseen = found["drifted"], found["ended"], found["unreached"]
    assert isinstance(rows, list)
    assert isinstance(ended, list)
    assert isinstance(unseen, list)
    if rows:
        told = [
            (r["binding"], r["region"], r["what"], short(r["got"], 60), short(r["want"], 60), _since(r)) for r in rows
        ]
        tabulate(console, ("BINDING", "REGION", "WHAT", "GOT", "WANT", "SINCE"), told)
        for hint in dict.fromkeys(row["hint"] for row in rows):
            console.print(f"   to do: {hint}", markup=False)
    elif not unseen:
        console.print("all is as recorded", markup=False)
    for each in unseen:
        console.print(f"not looked at: {each['binding']}: {each['reason']}", markup=False)
    for each in ended:
        was = f"{each['binding']} {each['what']} was {short(each['got'], 60)}"
        console.print(f"over: {was} until {moment(each['closed_at'])}: {each['closed']}", markup=False)


def _since(row: dict[str, object]) -> str:
    """It came to be so between two looks."""
    return f"{moment(row['good_at'])} to {moment(row['found_at'])}"  # type: ignore[arg-type]
