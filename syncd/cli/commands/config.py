"""`syncd config check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, settings

if TYPE_CHECKING:
    from rich.console import Console


app = typer.Typer(help="Look at the configuration.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Look at the configuration."""


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """Check the configuration file: every problem with its key, what was found and what would be right.

    Nothing is contacted. Exit code 0 if it can be used, 2 if not.

    Example: syncd config check -c /etc/syncd/config.toml
    """
    from syncd.config import warnings  # noqa: PLC0415

    loaded = settings(config, verbose=verbose)
    notes = [str(problem) for problem in warnings(loaded)]
    counts = {
        "registries": len(loaded.registries),
        "targets": len(loaded.targets),
        "runtimes": len(loaded.runtimes),
        "bindings": len(loaded.bindings),
        "models": len(loaded.models()),
    }

    def text(console: Console) -> None:
        for note in notes:
            console.print(f"warning: {note}", markup=False)
        listed = ", ".join(f"{number} {noun}" for noun, number in counts.items())
        console.print(f"{config}: good; {listed}", markup=False)

    Output(output).show({"file": str(config), "good": True, **counts, "warnings": notes}, text)
