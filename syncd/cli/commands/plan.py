"""`syncd plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.artifact.names import parse_model_at_version
from syncd.cli.output.output import OutputFormat, size, span, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile.requests import operations
from syncd.reconcile.views import plan as plan_view

if TYPE_CHECKING:
    from rich.console import Console


def plan(
    model_at_version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Show what a release would move and flip, with bytes per target. Nothing is changed.

    The bytes to send are an upper limit: parts of a changed file that a target has already are found while the file is
    read, and copied there.

    Example: syncd plan sdxl@v2
    """
    model, version = parse_model_at_version(model_at_version)
    with session(config, output, verbose=verbose) as opened:
        world = opened.world()
        operations.check_served(opened.topology, model)
        seen = plan_view.plan(world, opened.topology.registry_of(model), model, version)
        opened.output.show(plan_view.document(seen), lambda console: _text(console, seen))


def _to_do(target: plan_view.TargetPlan) -> str:
    if target.sealed:
        return "sealed"
    if target.replicated_from:
        return f"replicated from {target.replicated_from}"
    return f"{target.send_files} layers to push" if target.image else "to do"


def _text(console: Console, seen: plan_view.ReleasePlan) -> None:
    head = f"{seen.model}@{seen.version}: {seen.files} files, {size(seen.size_bytes)}, digest {seen.digest.short}"
    console.print(head, markup=False)
    rows = [
        (t.target, t.region, _to_do(t), size(t.send_bytes), size(t.copied_bytes), size(t.kept_bytes))
        for t in seen.targets
    ]
    tabulate(console, ("TARGET", "REGION", "", "SEND AT MOST", "COPY THERE", "KEEP"), rows)
    for new in [t.base_update for t in seen.targets if t.base_update]:
        console.print(f"{new.target}: {new}", markup=False)
    moves = [
        (f.binding, f.region, f"{f.function}:{f.alias}", f"{f.serves_now or '-'} → {seen.version}") for f in seen.flips
    ]
    tabulate(console, ("BINDING", "REGION", "ALIAS", "FLIP"), moves)
    if len(seen.steps) > 1 or any(step.pause_s for step in seen.steps):
        steps = [(f"{s.percent} %", ", ".join(s.regions), span(s.pause_s) if s.pause_s else "") for s in seen.steps]
        tabulate(console, ("STAGE", "REGIONS", "FOR AT LEAST"), steps)
