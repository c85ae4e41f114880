"""`syncd rollback`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TimeoutOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session


def rollback(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete.models, show_default=False)],
    to: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="A version that was live before.", show_default=False)
    ] = "",
    why: Annotated[str, typer.Option("--why", help="The reason, kept with the hold.")] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until every region serves it again.")] = True,
    timeout: TimeoutOption = 0.0,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Roll back to the previous live version everywhere, or to the one of --to, and hold the model there.

    No byte is moved: the function version of that time is served again. A release in the middle of its flips is
    undone instead. The hold keeps polls and pipelines away until `syncd unhold`.

    Exit codes: 0 every region serves it again, 3 there is no such version, 5 it ended otherwise, 6 timed out.

    Example: syncd rollback sdxl --why "black images"
    """
    if server:
        see = remote.Display(Output(output), wait=wait, timeout_s=timeout, going_back=True)
        return remote.execute(server, token_file, lambda client: client.rollback(model, why, to), see)
    from syncd.cli.execute import execute  # noqa: PLC0415 -- what works beside the record
    from syncd.reconcile.requests import rollbacks  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        ask = partial(rollbacks.rollback, opened.requester, model, why, to)
        return execute(opened, ask, wait=wait, timeout_s=timeout, going_back=True)
