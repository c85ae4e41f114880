"""`syncd releases`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.artifact.names import parse_model
from syncd.cli.output.output import OutputFormat, moment, short, span, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile.requests.operations import check_served
from syncd.reconcile.views.release import release_list
from syncd.state.releases import releases as recorded


def releases(
    model: Annotated[str | None, typer.Argument(help="Only of this model.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """List releases, newest first, with how they ended and why.

    Example: syncd releases sdxl -n 5
    """
    with session(config, output, verbose=verbose) as opened:
        name = None if model is None else parse_model(model)
        with opened.state.read() as conn:
            found = recorded.recent(conn, limit, name)
        if name is not None and not found:  # one that was taken out of the configuration still has its past
            check_served(opened.topology, name)
        rows = [
            (
                r.id,
                f"{r.model}@{r.ref}",
                "rollback" if r.rollback else "promote",
                r.phase.value,
                moment(r.created_at),
                span((r.updated_at - r.created_at).total_seconds()),
                r.requested_by,
                short(r.reason),
            )
            for r in found
        ]
        columns = ("RELEASE", "VERSION", "KIND", "PHASE", "ASKED", "TOOK", "BY", "REASON")
        opened.output.show(release_list(found), lambda console: tabulate(console, columns, rows))
