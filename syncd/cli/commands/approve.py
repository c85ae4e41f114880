"""`syncd approve`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.errors import Conflict


def approve(
    release: Annotated[
        str, typer.Argument(help="The release, such as r-12.", autocompletion=complete.releases, show_default=False)
    ],
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Approve a release that waits for a person. Who approved, when, and for which digest is recorded.

    The approval may come before the release is ready. `policy.approval` names the models that wait.

    Example: syncd approve r-12
    """
    if server:
        there = remote.asked(server, token_file, lambda client: client.approve(release))
        found = there.document
    else:
        from syncd.cli.attended import warn_unattended  # noqa: PLC0415
        from syncd.reconcile.requests import operations  # noqa: PLC0415 -- only beside the record
        from syncd.reconcile.views.release import approval  # noqa: PLC0415

        with session(config, output, verbose=verbose) as opened:
            try:
                given = operations.approve(opened.requester, release)
            except Conflict:  # its digest is not known yet: it never will be where no process works
                warn_unattended(opened, release)
                raise
            warn_unattended(opened, release)
        found = approval(given)
    text = f"{release} is approved by {found['who']} for sha256 {str(found['digest'])[:12]}"
    Output(output).show(found, lambda console: console.print(text, markup=False))
