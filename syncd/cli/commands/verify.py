"""`syncd verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from syncd.artifact.names import parse_model
from syncd.cli import complete
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile.requests import operations
from syncd.reconcile.views import plan
from syncd.reconcile.views.shapes.plans import FindingDocument, VerificationDocument
from syncd.targets.base import Depth

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN_MAX: Final = 8  # commands in the hint


def verify(
    model: Annotated[
        str | None, typer.Argument(help="Only this model.", autocompletion=complete.models, show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Compare checksums instead of reading every byte.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Compare the world with the record: every byte of every sealed version, every alias.

    Exit code 0 if all is as recorded, 8 if anything differs. Where nothing differs but not everything could be read:
    7 if something did not answer, 10 if it was refused. Nothing is changed.

    Example: syncd verify sdxl --quick
    """
    with session(config, output, verbose=verbose) as opened:
        if model is not None:
            operations.check_served(opened.topology, parse_model(model))
        world = opened.world()
        depth = Depth.CHECKSUMS if quick else Depth.BYTES
        wanted = opened.topology.models() if model is None else (model,)
        found = (finding for name in wanted for finding in plan.verify(world, name, depth))
        findings = list(dict.fromkeys(found))  # an alias that serves two models is one thing
        rows = [(f.subject, f.what, _text(f)) for f in findings]
        wrong = [f for f in findings if f.wrong]
        unanswered = [f for f in findings if f.unanswered]
        hint = _hint(wrong, unanswered)
        document = VerificationDocument(
            good=not wrong and not unanswered,
            findings=[
                FindingDocument(
                    subject=f.subject,
                    what=f.what,
                    wrong=f.wrong or None,
                    unanswered=f.unanswered or None,
                    remedy=f.remedy or None,
                )
                for f in findings
            ],
            hint=hint or None,
        )

        def tell(console: Console) -> None:
            tabulate(console, ("WHERE", "WHAT", "FOUND"), rows)
            if hint:
                console.print(hint, markup=False)

        opened.output.show(document.as_json(), tell)
        if wrong:
            return Exit.DIFFERS
        if any(f.is_refused for f in unanswered):
            return Exit.REFUSED
        return Exit.UNAVAILABLE if unanswered else Exit.OK


def _text(finding: plan.Finding) -> str:
    return finding.wrong or (f"not verified: {finding.unanswered}" if finding.unanswered else "as recorded")


def _hint(wrong: list[plan.Finding], unanswered: list[plan.Finding]) -> str:
    if wrong:
        remedies = list(dict.fromkeys(finding.remedy for finding in wrong if finding.remedy))
        more = f"; and {len(remedies) - _SHOWN_MAX} more" if len(remedies) > _SHOWN_MAX else ""
        said = f" To resolve: {'; '.join(remedies[:_SHOWN_MAX])}{more}" if remedies else ""
        return f"Each difference was read twice.{said}"
    if any(finding.is_refused for finding in unanswered):
        return "Not everything was verified: grant read access with the credentials in use, then run it again."
    return "Not everything was verified: run it again when the places named above answer." if unanswered else ""
