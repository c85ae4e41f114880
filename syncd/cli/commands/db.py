"""`syncd db create`, `syncd db upgrade` and `syncd db adopt-world`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session, settings

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="The record: create, upgrade, rebuild.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """The record: create, upgrade, rebuild."""


@app.command()
def create(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """Create the record of a first install. An existing record stays as it is.

    Every target and function is checked for data of syncd. If one has some, or cannot be reached, an earlier record
    may be missing, and with it the holds: automatic releases stay off until `syncd db adopt-world`.

    Example: syncd db create -c /etc/syncd/config.toml
    """
    from syncd.engine import upgrade as schema  # noqa: PLC0415 -- the engine takes a while to import
    from syncd.reconcile.adoption import survey  # noqa: PLC0415

    loaded = settings(config, verbose=verbose)
    applied = schema.create(loaded.state.connect_url.render_as_string(hide_password=False))
    with session(config, output, verbose=verbose) as opened:
        reason = survey.switch_off_if_used(opened.world()) if applied else survey.why_off(opened.state)
    document = {"created": bool(applied), "applied": applied, "automatic_releases_off": reason}

    def text(console: Console) -> None:
        console.print("created" if applied else "exists already", markup=False)
        if reason:
            console.print(f"automatic releases are off: {reason}", markup=False)
            console.print("run: syncd db adopt-world", markup=False)

    Output(output).show(document, text)


@app.command()
def upgrade(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """Bring the record to this syncd's schema. It never creates one. Repeating it is harmless.

    Example: syncd db upgrade -c /etc/syncd/config.toml
    """
    from syncd.engine import upgrade as schema  # noqa: PLC0415 -- the engine takes a while to import

    loaded = settings(config, verbose=verbose)
    applied = schema.upgrade(loaded.state.connect_url.render_as_string(hide_password=False))
    text = f"upgraded: {', '.join(applied)}" if applied else "up to date"
    Output(output).show({"applied": applied}, lambda console: console.print(text, markup=False))


@app.command("adopt-world")
def adopt_world(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> int:
    """Rebuild what is live, placed and on hold from the functions and targets, and switch automatic releases on.

    It reads the functions' aliases, mounts and variables, the seals of the targets, and the copies of holds there. It
    changes none of them. What stays unknown is listed; automatic releases stay off while a target or region cannot be
    reached.

    Exit codes: 0 all was read, 7 a target or region could not be reached: repeat it.

    Example: syncd db adopt-world -c /etc/syncd/config.toml
    """
    from syncd.cli.exit_codes import Exit  # noqa: PLC0415
    from syncd.reconcile.adoption import adopt_world as adoption  # noqa: PLC0415 -- the seams

    with session(config, output, verbose=verbose) as opened:
        found = adoption.adopt_world(opened.world(), opened.requester.who)

        def text(console: Console) -> None:
            for heading, lines in (
                ("live", found.live),
                ("placed", found.placed),
                ("before", found.before),
                ("on hold", found.held),
                ("not known", found.unknown),
            ):
                for line in lines:
                    console.print(f"{heading}: {line}", markup=False)
            switched = (
                "on" if found.is_whole else "still off: a target or region could not be reached; repeat the command"
            )
            console.print(f"automatic releases are {switched}", markup=False)

        opened.output.show(found.document(), text)
        return Exit.OK if found.is_whole else Exit.UNAVAILABLE
