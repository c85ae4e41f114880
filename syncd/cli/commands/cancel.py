"""`syncd cancel`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session


def cancel(
    release: Annotated[
        str, typer.Argument(help="The release, such as r-12.", autocompletion=complete.releases, show_default=False)
    ],
    why: Annotated[str, typer.Option("--why", help="The reason, kept with the release.")] = "",
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Cancel a release before it moves any alias.

    Its copies stay, and the next release of the same version resumes from them. To undo a release that is moving
    aliases, run `syncd rollback`.

    Example: syncd cancel r-12 --why "wrong checkpoint"
    """
    if server:
        there = remote.asked(server, token_file, lambda client: client.cancel(release, why))
        found = {key: there.document[key] for key in ("release", "model", "version", "phase")}
    else:
        from syncd.cli.attended import warn_unattended  # noqa: PLC0415
        from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record
        from syncd.reconcile.views.shapes.serving import CancelledDocument  # noqa: PLC0415

        with session(config, output, verbose=verbose) as opened:
            asked = operations.cancel(opened.requester, release, why)
            warn_unattended(opened, release)
        found = CancelledDocument(release=asked.id, model=asked.model, version=asked.ref, phase=asked.phase).as_json()
    text = f"{release} {found['model']}@{found['version']} ends; `syncd show {release}` shows when it has"
    Output(output).show(found, lambda console: console.print(text, markup=False))
