"""`syncd hold` and `syncd unhold`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli.output import Form
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile import wish

ModelArgument = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, shown to whoever meets the hold.")]


def hold(
    model: ModelArgument,
    why: WhyOption = "by hand",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Keep automation away from a model: no poll and no pipeline releases a version of it.

    Example: syncd hold sdxl --why "black images since v7"
    """
    with session(config, output, verbose=verbose) as opened:
        held = wish.hold(opened.wisher, model, why)
        opened.output.show(
            {"model": held.model, "who": held.who, "why": held.why, "since": held.since},
            lambda console: console.print(f"{model} is on hold by {held.who}: {held.why}", markup=False),
        )


def unhold(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Lift a hold. Lifting what is not held is success.

    Example: syncd unhold sdxl
    """
    with session(config, output, verbose=verbose) as opened:
        lifted = wish.unhold(opened.wisher, model)
        if not lifted:  # one that was taken out of the configuration may still be on hold
            wish.refuse_unserved(opened.fleet, model)
        text = f"{model} is no longer on hold" if lifted else f"{model} was not on hold"
        opened.output.show({"model": model, "lifted": lifted}, lambda console: console.print(text, markup=False))
