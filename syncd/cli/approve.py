"""`syncd approve`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli.output import Form
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.reconcile import wish


def approve(
    release: Annotated[str, typer.Argument(help="The release, such as r-12.", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Let a release flip that waits for a person: who, when and for which digest is recorded.

    It may be said before the release is ready. Which models wait is `policy.approval`.

    Example: syncd approve r-12
    """
    with session(config, output, verbose=verbose) as opened:
        given = wish.approve(opened.wisher, release)
        found = {"release": given.release_id, "digest": given.digest.hex, "who": given.who, "at": given.at}
        text = f"{given.release_id} is approved by {given.who} for sha256 {given.digest.hex[:12]}"
        opened.output.show(found, lambda console: console.print(text, markup=False))
