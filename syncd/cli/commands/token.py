"""`syncd token create`, `list` and `revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.output.output import OutputFormat, moment, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.plan.roles import Role

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Create, list and revoke API tokens.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

NameArgument = Annotated[str, typer.Argument(help="The owner's name, shown in events.", show_default=False)]
RoleOption = Annotated[Role, typer.Option("--role", help="What it may do; each may do what the ones before it may.")]


@app.callback()
def _group() -> None:
    """Create, list and revoke API tokens."""


@app.command()
def create(
    name: NameArgument,
    role: RoleOption = Role.READ,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Create a token and print it once: the record has only its hash.

    Example: syncd token create ci --role publish
    """
    from syncd.state.access import tokens  # noqa: PLC0415 -- the record: not for --help

    with session(config, output, verbose=verbose) as opened:
        with opened.state.write() as conn:
            made = tokens.create(conn, name, role, opened.requester.who, opened.state.now(conn))
        shown = made.reveal()
        opened.output.show(
            {"name": name, "role": role, "token": shown},
            lambda console: console.print(shown, markup=False, soft_wrap=True),
        )


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """List the tokens by name, with their roles. The tokens themselves are not stored.

    Example: syncd token list
    """
    from syncd.state.access import tokens  # noqa: PLC0415 -- as above

    with session(config, output, verbose=verbose) as opened:
        with opened.state.read() as conn:
            found = tokens.all(conn)
        rows = [(t.name, t.role.value, t.created_by, moment(t.created_at)) for t in found]
        listed = [
            {"name": t.name, "role": t.role, "created_by": t.created_by, "created_at": t.created_at} for t in found
        ]

        def text(console: Console) -> None:
            tabulate(console, ("TOKEN", "ROLE", "BY", "SINCE"), rows)

        opened.output.show({"tokens": listed}, text)


@app.command()
def revoke(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Revoke a token: the next request with it is refused.

    Example: syncd token revoke ci
    """
    from syncd.state.access import tokens  # noqa: PLC0415 -- as above

    with session(config, output, verbose=verbose) as opened:
        with opened.state.write() as conn:
            tokens.revoke(conn, name, opened.requester.who, opened.state.now(conn))
        opened.output.show(
            {"name": name, "revoked": True}, lambda console: console.print(f"{name} is revoked", markup=False)
        )
