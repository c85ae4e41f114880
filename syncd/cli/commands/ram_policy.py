"""`syncd ram-policy`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, settings
from syncd.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console


def ram_policy(
    region: Annotated[
        str, typer.Option("--region", help="Only what is in this region: one policy for each worker's user.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Print the RAM policies that this configuration needs and no more.

    One policy for each credentials of the configuration, and one, "functions", for the roles of the functions that
    mount the buckets. Nothing is contacted. A policy of Alibaba Cloud has at most 6144 characters: a larger one is
    named, and --region prints its parts.

    Example: syncd ram-policy --region cn-hangzhou
    """
    from syncd.cli.ram_policies import POLICY_CHARS_MAX, policies  # noqa: PLC0415 -- pydantic: not for --help

    loaded = settings(config, verbose=verbose)
    known = sorted({each.region for each in (*loaded.runtimes.values(), *loaded.targets.values())})
    if region and region not in known:
        raise Invalid(f"{region}: nothing of the configuration is there", hint=f"expected one of {', '.join(known)}")
    found = policies(loaded, region or None)
    shown = Output(output)
    for note in found.notes:
        shown.warn(note)
    for name, document in found.documents.items():
        if (size := len(json.dumps(document, separators=(",", ":")))) > POLICY_CHARS_MAX:
            shown.warn(f"{name}: {size} characters, at most {POLICY_CHARS_MAX} fit in one policy: use --region")

    def tell(console: Console) -> None:
        for name, document in found.documents.items():
            console.print(f"{name}:", markup=False)
            console.print(json.dumps(document, indent=2), markup=False, soft_wrap=True)

    shown.show(found.documents, tell)
