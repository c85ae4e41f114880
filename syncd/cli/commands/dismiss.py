"""`syncd dismiss`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session


def dismiss(
    release: Annotated[
        str, typer.Argument(help="The release, such as r-11.", autocompletion=complete.releases, show_default=False)
    ],
    why: Annotated[str, typer.Option("--why", help="The reason, kept with the event.")] = "",
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Take a release that stalled or was undone off `syncd status`. Its history stays in the record.

    Nothing else changes: what is live stays live, and a hold stays.

    Example: syncd dismiss r-11 --why "the base was pushed again"
    """
    if server:
        found = remote.asked(server, token_file, lambda client: client.dismiss(release, why)).document
    else:
        from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record
        from syncd.reconcile.views.release import parse_release, release_line  # noqa: PLC0415

        with session(config, output, verbose=verbose) as opened:
            found = release_line(operations.dismiss(opened.requester, parse_release(release), why))
    text = f"{release} {found['model']}@{found['version']} is dismissed; it stays {found['phase']} in `syncd releases`"
    Output(output).show(found, lambda console: console.print(text, markup=False))
