"""`syncd verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.artifact.names import parse_model
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile.requests import operations
from syncd.reconcile.views import plan
from syncd.targets.base import Depth


def verify(
    model: Annotated[str | None, typer.Argument(help="Only this model.", show_default=False)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Compare checksums instead of reading every byte.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Compare the world with the record: every byte of every sealed version, every alias.

    Exit code 0 if all is as recorded, 8 if anything is not. Nothing is changed.

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
        wrong = [finding for finding in findings if finding.wrong]
        rows = [(f.subject, f.what, f.wrong or "as recorded") for f in findings]
        listed = [{"subject": f.subject, "what": f.what, "wrong": f.wrong or None} for f in findings]
        opened.output.show(
            {"good": not wrong, "findings": listed},
            lambda console: tabulate(console, ("WHERE", "WHAT", "FOUND"), rows),
        )
        return Exit.DIFFERS if wrong else Exit.OK
