"""`syncd token create`, `list` and `revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.output.output import OutputFormat, moment, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.plan.roles import Role
from syncd.plan.token_limits import TokenLimits, parse_lasts

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

app = typer.Typer(
    help="Create, list and revoke API tokens.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

NameArgument = Annotated[str, typer.Argument(help="The owner's name, shown in events.", show_default=False)]
RoleOption = Annotated[Role, typer.Option("--role", help="What it may do; each may do what the ones before it may.")]
ExpiresOption = Annotated[
    str,
    typer.Option("--expires", metavar="TIME", help="How long it lasts: 12h, 90d. Default: until it is revoked."),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="PATTERN",
        help="Only for this model or pattern, 'sdxl*'; repeatable.",
    ),
]
NetworksOption = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="ADDRESS", help="Only from this address or block, 10.0.0.0/8; repeatable."),
]
PerMinuteOption = Annotated[
    int, typer.Option("--per-minute", min=0, metavar="N", help="Limit of requests per minute; 0 means unlimited.")
]


@app.callback()
def _group() -> None:
    """Create, list and revoke API tokens."""


@app.command()
def create(
    name: NameArgument,
    role: RoleOption = Role.READ,
    expires: ExpiresOption = "",
    models: ModelsOption = None,
    networks: NetworksOption = None,
    per_minute: PerMinuteOption = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Create a token and print it once: the record has only its hash.

    Example: syncd token create ci --role publish --expires 90d --model 'sdxl*' --from 10.0.0.0/8
    """
    from syncd.state.access import tokens  # noqa: PLC0415 -- the record: not for --help

    with session(config, output, verbose=verbose) as opened:
        lasts = parse_lasts(expires) if expires else None
        with opened.state.write() as conn:
            now = opened.state.now(conn)
            limits = TokenLimits(now + lasts if lasts else None, tuple(models or ()), tuple(networks or ()), per_minute)
            made = tokens.create(conn, name, role, opened.requester.who, now, limits)
        shown = made.reveal()
        opened.output.show(
            {"name": name, "role": role, "token": shown, **_shown(limits)},
            lambda console: console.print(shown, markup=False, soft_wrap=True),
        )


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> None:
    """List the tokens by name, with their roles and limits. The tokens themselves are not stored.

    Example: syncd token list
    """
    from syncd.state.access import tokens  # noqa: PLC0415 -- as above

    with session(config, output, verbose=verbose) as opened:
        with opened.state.read() as conn:
            found = tokens.all(conn)
            now = opened.state.now(conn)
        limited = [(token, TokenLimits.of_json(token.limits)) for token in found]
        rows = [
            (t.name, t.role.value, _until(limits, now), *_scope(limits), t.created_by, moment(t.created_at))
            for t, limits in limited
        ]
        listed = [
            {"name": t.name, "role": t.role, "created_by": t.created_by, "created_at": t.created_at, **_shown(limits)}
            for t, limits in limited
        ]

        def text(console: Console) -> None:
            tabulate(console, ("TOKEN", "ROLE", "UNTIL", "MODELS", "FROM", "A MINUTE", "BY", "SINCE"), rows)

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


def _shown(limits: TokenLimits) -> dict[str, object]:
    return {
        "ends_at": limits.ends_at,
        "models": list(limits.models),
        "networks": list(limits.networks),
        "per_minute": limits.per_minute or None,
    }


def _until(limits: TokenLimits, now: datetime) -> str:
    if limits.ends_at is None:
        return ""
    return f"{moment(limits.ends_at)}, ended" if limits.is_ended(now) else moment(limits.ends_at)


def _scope(limits: TokenLimits) -> tuple[str, str, str]:
    return ", ".join(limits.models), ", ".join(limits.networks), str(limits.per_minute or "")
