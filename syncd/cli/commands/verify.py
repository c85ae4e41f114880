"""`syncd verify`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.artifact.names import parse_model
from syncd.cli import complete, remote
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat, moment_at, moment_of, span, tabulate
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, CliSession, ConfigOption, OutputOption, VerboseOption, session
from syncd.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console


def verify(
    model: Annotated[
        str | None, typer.Argument(help="Only this model.", autocompletion=complete.models, show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Compare checksums instead of reading every byte.")] = False,
    results: Annotated[
        bool, typer.Option("--results", help="Show the results of the last run, and the last proof of each copy.")
    ] = False,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Compare the world with the record: every byte of every sealed version, every alias.

    Exit code 0 if all is as recorded, 8 if anything differs. Where nothing differs but not everything could be read:
    7 if something did not answer, 10 if it was refused. Nothing is changed. With
    --results, or --server, the results of the last run beside the record, what has been found right since, and when
    each copy was last proven; no cloud is contacted.

    Example: syncd verify sdxl --quick
    """
    if server:
        if quick:
            raise Invalid("--quick verifies from this machine", hint="run it beside the record, without --server")
        found = remote.asked(server, token_file, lambda there: there.verification(model))
    elif results:
        if quick:
            raise Invalid("--quick verifies now", hint="run it without --results")
        with session(config, output, verbose=verbose) as opened:
            found = _results(opened, model)
    else:
        with session(config, output, verbose=verbose) as opened:
            found = _verified(opened, model, quick=quick)
    Output(output).show(found, lambda console: _text(console, found, server))
    return _code(found)


def _verified(opened: CliSession, model: str | None, *, quick: bool) -> dict[str, Any]:
    from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record
    from syncd.reconcile.views import verification  # noqa: PLC0415 -- as above
    from syncd.targets.base import Depth  # noqa: PLC0415 -- as above

    if model is not None:
        operations.check_served(opened.topology, parse_model(model))
    world = opened.world()
    depth = Depth.CHECKSUMS if quick else Depth.BYTES
    wanted = opened.topology.models() if model is None else (model,)
    found = {name: list(verification.verify(world, name, depth)) for name in wanted}
    verification.keep(opened.state, found, is_quick=quick)
    if empty := verification.without_bytes(found):
        opened.output.warn(f"the record has no sealed version of {', '.join(empty)}: no bytes of it were verified")
    return verification.document([finding for findings in found.values() for finding in findings]).as_json()


def _results(opened: CliSession, model: str | None) -> dict[str, Any]:
    from syncd.reconcile.views import verification  # noqa: PLC0415 -- only beside the record

    found = verification.last(opened.state, opened.topology, None if model is None else parse_model(model))
    return found.as_json()


def _code(found: Mapping[str, Any]) -> Exit:
    rows = found["findings"]
    if any(each["wrong"] for each in rows):
        return Exit.DIFFERS
    if any(each.get("refused") for each in rows):
        return Exit.REFUSED
    return Exit.OK if found["good"] else Exit.UNAVAILABLE


def _text(console: Console, found: Mapping[str, Any], server: str) -> None:
    rows = [(each["subject"], each["what"], _finding(each)) for each in found["findings"]]
    tabulate(console, ("WHERE", "WHAT", "FOUND"), rows)
    for model, at in found.get("verified_at", {}).items():
        how = " by checksums" if found["quick"].get(model) else ""
        console.print(f"{model}: {f'verified{how} at {moment_of(at)}' if at else 'never verified'}", markup=False)
    if found.get("proofs"):
        proven = [
            (p["target"], f"{p['model']}@{p['version']}", moment_of(p["proven_at"]), _age(p["proven_at"]), p["how"],
             p["fault"] or "")
            for p in found["proofs"]
        ]  # fmt: skip
        tabulate(console, ("TARGET", "COPY", "LAST PROOF", "AGE", "BY", "FAULT"), proven)
    if found["hint"]:
        console.print(remote.there(found["hint"], server), markup=False)


def _age(at: datetime | str) -> str:
    """Whole days, or hours and minutes of less than one."""
    seconds = max(0.0, (datetime.now(UTC) - moment_at(at)).total_seconds())
    return f"{int(seconds // 86400)}d" if seconds >= 86400 else span(seconds)


def _finding(row: Mapping[str, Any]) -> str:
    if row.get("resolved_at"):
        return f"as recorded again at {moment_of(row['resolved_at'])}"
    return str(row["wrong"] or (f"not verified: {row['unanswered']}" if row["unanswered"] else "as recorded"))
