"""`syncd freeze` and `syncd unfreeze`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli import remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from syncd import client
    from syncd.state import records

ModelArgument = Annotated[str | None, typer.Argument(help="The model's name; all models if left out.")]


def freeze(
    model: ModelArgument = None,
    why: Annotated[str, typer.Option("--why", help="The reason, shown to everyone who meets it.")] = "manual",
    hours: Annotated[
        float, typer.Option("--hours", min=0, max=8784, help="How long, at least a minute; 0 until it is lifted.")
    ] = 0.0,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Freeze one model or all: releases wait before their first flip; copies, probes and rollbacks continue.

    Example: syncd freeze --why "quarter's end" --hours 48
    """
    put: records.Freeze | client.Freeze
    if server:
        put = remote.asked(server, token_file, lambda there: there.freeze(model, why, hours=hours))
        found = put.document
    else:
        from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record
        from syncd.reconcile.views.shapes.serving import FreezeDocument  # noqa: PLC0415

        with session(config, output, verbose=verbose) as opened:
            put = operations.freeze(opened.requester, model, why, operations.freeze_time(hours))
        found = FreezeDocument.model_validate(put).as_json()
    end = f"until {put.until:%Y-%m-%d %H:%M}Z" if put.until else "until `syncd unfreeze`"
    text = f"{model or 'everything'} is frozen by {put.who} {end}: {put.why}"
    Output(output).show(found, lambda console: console.print(text, markup=False))


def unfreeze(
    model: ModelArgument = None,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Lift the freeze of a model, or that of all models. It succeeds if there is none.

    Example: syncd unfreeze sdxl
    """
    if server:
        lifted = remote.asked(server, token_file, lambda there: there.unfreeze(model))
    else:
        from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record

        with session(config, output, verbose=verbose) as opened:
            lifted = operations.unfreeze(opened.requester, model)
    text = f"{model or 'everything'} {'is no longer' if lifted else 'was not'} frozen"
    Output(output).show({"model": model, "lifted": lifted}, lambda console: console.print(text, markup=False))
