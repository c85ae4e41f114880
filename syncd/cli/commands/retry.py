"""`syncd retry`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session


def retry(
    release: Annotated[
        str | None,
        typer.Argument(
            help="The release, such as r-12; else all in flight.", autocompletion=complete.releases, show_default=False
        ),
    ] = None,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Try the waiting steps of a release, or of all in flight, now instead of at their next time.

    Use it once the cause is fixed. `syncd status` shows what waits and until when. To publish the same version again
    does the same.

    Example: syncd retry r-12
    """
    printed = Output(output)
    if server:
        found: Mapping[str, Any] = {"releases": remote.asked(server, token_file, lambda client: client.retry(release))}
    else:
        from syncd.cli.attended import warn_unattended  # noqa: PLC0415 -- only beside the record
        from syncd.reconcile.requests import operations  # noqa: PLC0415
        from syncd.reconcile.views.release import parse_release, retried_list  # noqa: PLC0415

        with session(config, output, verbose=verbose) as opened:
            wanted = None if release is None else parse_release(release)
            found = retried_list(operations.retry(opened.requester, wanted))
            warn_unattended(opened)
    lines = [
        f"{row['release']} {row['model']}@{row['version']}: "
        + (f"{', '.join(row['steps'])} due now" if row["steps"] else "nothing waits")
        for row in found["releases"]
    ]
    text = "\n".join(lines) or "no release is in flight"
    printed.show(found, lambda console: console.print(text, markup=False))
