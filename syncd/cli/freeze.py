"""`syncd freeze` and `syncd unfreeze`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from syncd.cli.output import Form
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile import wish

ModelArgument = Annotated[str | None, typer.Argument(help="The model's name; all models if left out.")]


def freeze(
    model: ModelArgument = None,
    why: Annotated[str, typer.Option("--why", help="The reason, shown to whoever meets it.")] = "by hand",
    hours: Annotated[float, typer.Option("--hours", min=0, max=8784, help="How long; 0 until it is lifted.")] = 0.0,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Flip nothing: releases are copied, staged and probed, and wait before their first flip. Rollbacks go on.

    Example: syncd freeze --why "quarter's end" --hours 48
    """
    with session(config, output, verbose=verbose) as opened:
        put = wish.freeze(opened.wisher, model, why, timedelta(hours=hours) if hours else None)
        found = {"model": put.model, "who": put.who, "why": put.why, "since": put.since, "until": put.until}
        end = f"until {put.until:%Y-%m-%d %H:%M}Z" if put.until else "until `syncd unfreeze`"
        text = f"{model or 'everything'} is frozen by {put.who} {end}: {put.why}"
        opened.output.show(found, lambda console: console.print(text, markup=False))


def unfreeze(
    model: ModelArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Lift the freeze of a model, or that of all models. Lifting what is not frozen is success.

    Example: syncd unfreeze sdxl
    """
    with session(config, output, verbose=verbose) as opened:
        lifted = wish.unfreeze(opened.wisher, model)
        if not lifted and model is not None:  # one that was taken out of the configuration may still be frozen
            wish.refuse_unserved(opened.fleet, model)
        text = f"{model or 'everything'} {'is no longer' if lifted else 'was not'} frozen"
        opened.output.show({"model": model, "lifted": lifted}, lambda console: console.print(text, markup=False))
