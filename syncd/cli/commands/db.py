"""`syncd db upgrade`."""

from __future__ import annotations

import typer

from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, settings

app = typer.Typer(help="The record's schema.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """The record's schema."""


@app.command()
def upgrade(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """Create the record, or bring it to this syncd's schema. Repeating it is harmless.

    Example: syncd db upgrade -c /etc/syncd/config.toml
    """
    from syncd.engine import upgrade as schema  # noqa: PLC0415 -- the engine takes a while to import

    loaded = settings(config, verbose=verbose)
    applied = schema.upgrade(loaded.state.connect_url.render_as_string(hide_password=False))
    text = f"upgraded: {', '.join(applied)}" if applied else "up to date"
    Output(output).show({"applied": applied}, lambda console: console.print(text, markup=False))
