"""`syncd trust`, `syncd waive` and `syncd unwaive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.output.output import OutputFormat, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.reconcile.trust.evaluation import LiveTrust
    from syncd.state.content.trust import TrustWaiver

VersionArgument = Annotated[str, typer.Argument(metavar="MODEL@VERSION", show_default=False)]


def trust(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """Show what the trust policy of now says of every live version, and the waivers. Nothing is moved.

    Example: syncd trust
    """
    from syncd.reconcile.trust.evaluation import described, evaluate_live  # noqa: PLC0415 -- beside the record
    from syncd.state.content import trust as records  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        with opened.state.read() as conn:
            found = evaluate_live(conn, opened.read_from.trust, opened.topology)
            waivers = records.all_waivers(conn)
        document = {
            "live": [
                {
                    "version": each.version_id,
                    "digest": each.digest.hex,
                    "bindings": list(each.bindings),
                    "evaluated": not each.is_stale,
                    "findings": [described(finding) for finding in each.findings],
                }
                for each in found
            ],
            "waivers": [_waiver(each) for each in waivers],
        }
        if not opened.read_from.trust.rules:
            opened.output.note("nothing is evaluated: the configuration has no [policy.trust]")
        elif not found:
            opened.output.note("the policy selects no version that is live")
        opened.output.show(document, lambda console: _text(console, found, waivers))


def waive(
    model_at_version: VersionArgument,
    why: Annotated[str, typer.Option("--why", help="The reason, shown to everyone.", show_default=False)],
    hours: Annotated[float, typer.Option("--hours", help="How long it can be used.")] = 24.0,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Let one release of the bytes of a version through, whatever the trust policy says of them.

    The waiver is bound to the digest in the record. It works for one release, and ends after --hours.

    Example: syncd waive sdxl@v2 --why "pickle reviewed by ann" --hours 24
    """
    from syncd.reconcile.requests import waivers  # noqa: PLC0415 -- beside the record

    with session(config, output, verbose=verbose) as opened:
        made = waivers.waive(opened.requester, model_at_version, why, hours)
        text = (
            f"one release of {model_at_version} ({made.digest.short}) is let through up to "
            f"{made.until:%Y-%m-%d %H:%M}Z: syncd publish {model_at_version}"
        )
        opened.output.show(_waiver(made), lambda console: console.print(text, markup=False))


def unwaive(
    model_at_version: VersionArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Take a waiver back that no release has used. It succeeds if there is none.

    Example: syncd unwaive sdxl@v2
    """
    from syncd.reconcile.requests import waivers  # noqa: PLC0415 -- beside the record

    with session(config, output, verbose=verbose) as opened:
        lifted = waivers.unwaive(opened.requester, model_at_version)
        text = f"{model_at_version} {'is no longer' if lifted else 'was not'} waived"
        opened.output.show(
            {"version": model_at_version, "lifted": lifted}, lambda console: console.print(text, markup=False)
        )


def _waiver(found: TrustWaiver) -> dict[str, object]:
    return {
        "version": found.version_id,
        "digest": found.digest.hex,
        "who": found.who,
        "why": found.why,
        "since": found.since,
        "until": found.until,
        "used_by": found.used_by or None,
    }


def _text(console: Console, found: list[LiveTrust], waivers: list[TrustWaiver]) -> None:
    rows = []
    for each in found:
        said = "meets the policy"
        if each.is_stale:
            said = f"not evaluated: `syncd plan {each.version_id.partition('#')[0]}` shows what the policy says of it"
        if each.findings:
            said = f"would be refused now: {each.findings[0]}"
        rows.append((each.version_id, ", ".join(each.bindings), said))
    if rows:
        tabulate(console, ("LIVE", "BINDINGS", "TRUST POLICY"), rows)
    shown = [
        (each.version_id, each.who, f"{each.until:%Y-%m-%d %H:%M}Z", each.used_by or "unused", each.why)
        for each in waivers
    ]
    if shown:
        tabulate(console, ("WAIVER", "BY", "UNTIL", "USED BY", "WHY"), shown)
