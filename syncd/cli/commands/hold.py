"""`syncd hold` and `syncd unhold`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from syncd import client
    from syncd.state import records

ModelArgument = Annotated[
    str, typer.Argument(help="The model's name.", autocompletion=complete.models, show_default=False)
]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, shown to everyone who meets the hold.")]


def hold(
    model: ModelArgument,
    why: WhyOption = "manual",
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Hold a model: no poll and no pipeline releases a version of it.

    Example: syncd hold sdxl --why "black images since v7"
    """
    held: records.Hold | client.Hold
    if server:
        held = remote.asked(server, token_file, lambda there: there.hold(model, why))
        found = held.document
    else:
        from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record
        from syncd.reconcile.views.shapes.serving import HoldDocument  # noqa: PLC0415

        with session(config, output, verbose=verbose) as opened:
            held = operations.hold(opened.requester, model, why)
        found = HoldDocument.model_validate(held).as_json()
    text = f"{model} is on hold by {held.who}: {held.why}"
    Output(output).show(found, lambda console: console.print(text, markup=False))


def unhold(
    model: ModelArgument,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Lift a hold. It succeeds if there is none.

    Example: syncd unhold sdxl
    """
    if server:
        lifted = remote.asked(server, token_file, lambda there: there.unhold(model))
    else:
        from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record

        with session(config, output, verbose=verbose) as opened:
            lifted = operations.unhold(opened.requester, model)
    text = f"{model} is no longer on hold" if lifted else f"{model} was not on hold"
    Output(output).show({"model": model, "lifted": lifted}, lambda console: console.print(text, markup=False))
