"""`syncd worker`: the worker of a region."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli.commands.run import NameOption, run_worker
from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption


def worker(
    region: Annotated[str, typer.Option("--region", help="The region whose steps it runs.")],
    name: NameOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Run the worker of a region, beside a controller: copies into it, calls of its functions, until SIGTERM.

    It reaches OSS through `internal_endpoint` where the target has one, and runs the steps of a NAS while a file that
    it writes there reads back. SIGTERM drains: running steps stop between two effects, and another process goes on.

    Example: syncd worker --region cn-shanghai
    """
    return run_worker(region, name, config, output, verbose=verbose)
