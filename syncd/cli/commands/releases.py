"""`syncd releases`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from syncd.artifact.names import ModelName, parse_model
from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat, moment, moment_at, short, span, tabulate
from syncd.cli.remote import ServerOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session


def releases(
    model: Annotated[
        str | None, typer.Argument(help="Only of this model.", autocompletion=complete.models, show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """List releases, newest first, with how they ended and why.

    Example: syncd releases sdxl -n 5
    """
    name = None if model is None else parse_model(model)
    if server:
        there = remote.asked(server, token_file, lambda client: client.releases(name, limit=limit))
        found: Mapping[str, Any] = {"releases": [release.document for release in there]}
    else:
        found = _beside_the_record(config, output, name, limit, verbose=verbose)
    columns = ("RELEASE", "VERSION", "KIND", "PHASE", "ASKED", "TOOK", "BY", "REASON")
    Output(output).show(found, lambda console: tabulate(console, columns, [_row(r) for r in found["releases"]]))


def _beside_the_record(
    config: Path, output: OutputFormat, name: ModelName | None, limit: int, *, verbose: bool
) -> Mapping[str, Any]:
    from syncd.reconcile.requests.operations import check_served  # noqa: PLC0415 -- only beside the record
    from syncd.reconcile.views.release import release_list  # noqa: PLC0415
    from syncd.state.releases import releases as recorded  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        with opened.state.read() as conn:
            found = recorded.recent(conn, limit, name)
        if name is not None and not found:  # one that was taken out of the configuration still has its past
            check_served(opened.topology, name)
        return release_list(found)


def _row(release: Mapping[str, Any]) -> tuple[object, ...]:
    created, updated = moment_at(release["created_at"]), moment_at(release["updated_at"])
    return (
        release["release"],
        f"{release['model']}@{release['version']}",
        "rollback" if release["rollback"] else "promote",
        str(release["phase"]),
        moment(created),
        span((updated - created).total_seconds()),
        release["requested_by"],
        short(release["reason"]),
    )
