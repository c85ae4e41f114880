"""`syncd versions`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.artifact.names import parse_model
from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat, size, span, tabulate
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console


def versions(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete.models, show_default=False)],
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """List a model's versions, newest first: where each is sealed and live, its size, and how long it is recorded.

    A version is recorded with its first release; before, its size is that of the files in the registry.

    Example: syncd versions sdxl
    """
    name = parse_model(model)
    if server:
        found: Mapping[str, Any] = remote.asked(server, token_file, lambda client: client.versions(name))
    else:
        from syncd.reconcile.views.model_versions import model_versions  # noqa: PLC0415 -- only beside the record

        with session(config, output, verbose=verbose) as opened:
            found = model_versions(opened.world(), name)
    printed = Output(output)
    printed.show(found, lambda console: _text(console, found))
    if found["unreached"]:
        printed.warn(f"registry {found['registry']} could not be read, these are of the record: {found['unreached']}")


def _text(console: Console, found: Mapping[str, Any]) -> None:
    rows = [
        (
            each["version"],
            f"{len(each['sealed'])} of {len(each['targets'])}",
            ", ".join(each["live"]) or "-",
            "-" if each["size_bytes"] is None else size(each["size_bytes"]),
            _age(each["recorded_at"]),
            str(each["digest"] or "-")[:12],
            _remark(each),
        )
        for each in found["versions"]
    ]
    if not rows:
        console.print(f"{found['model']} has no versions in registry {found['registry']}", markup=False)
        return
    tabulate(console, ("VERSION", "SEALED", "LIVE IN", "SIZE", "AGE", "DIGEST", "REMARK"), rows)


def _age(at: datetime | str | None) -> str:
    if at is None:
        return "-"
    recorded = datetime.fromisoformat(at) if isinstance(at, str) else at
    return span(max(0.0, (datetime.now(UTC) - recorded).total_seconds()))


def _remark(each: Mapping[str, Any]) -> str:
    if each["quarantined"]:
        return "quarantined"
    return "" if each["in_registry"] else "not in the registry"
