"""`syncd retire` and `syncd unquarantine`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli import complete
from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from syncd.reconcile.gc.retire import Retired

VersionArgument = Annotated[
    str, typer.Argument(metavar="MODEL@VERSION", autocompletion=complete.versions, show_default=False)
]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, kept with the event.")]


def retire(
    version: VersionArgument,
    why: WhyOption = "",
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be deleted; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Without a terminal nothing is asked.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Take a version out of service for good: its function versions and its bytes in every region are deleted.

    Refused while it is live, in flight, or the target of a rollback. Its history stays in the record. Repeating it
    resumes an interrupted retirement; publishing the version again copies it again. On a terminal it shows what will be
    deleted and asks.

    Example: syncd retire sdxl@v3 --why "license withdrawn"
    """
    from syncd.artifact.names import parse_model_at_version  # noqa: PLC0415 -- `--help` needs none of it
    from syncd.reconcile.drift.resolve import Justification  # noqa: PLC0415
    from syncd.reconcile.gc import retire as retirement  # noqa: PLC0415

    model, name = parse_model_at_version(version)
    with session(config, output, verbose=verbose) as opened:
        is_asking = not yes and output is OutputFormat.TEXT and sys.stdin.isatty() and sys.stdout.isatty()
        if plan or is_asking:
            planned = retirement.plan(opened.world(), model, name)
            opened.output.show(
                {"plan": True} | _document(planned),
                lambda console: console.print("\n".join(_lines(planned, f"{model}@{name}", "to be ")), markup=False),
            )
        if plan:
            return
        if is_asking and not typer.confirm(f"Retire {model}@{name} for good?"):
            opened.output.note("nothing is retired")
            return
        done = retirement.retire(opened.world(), model, name, Justification(opened.requester.who, why))
        opened.output.show(
            _document(done),
            lambda console: console.print("\n".join(_lines(done, f"{model}@{name}", "")), markup=False),
        )


def _document(found: Retired) -> dict[str, object]:
    return {
        "version": found.version.id,
        "function_versions": found.function_versions,
        "targets": found.targets,
        "left": found.left,
        "images": found.images,
    }


def _lines(found: Retired, name: str, tense: str) -> list[str]:
    lines = [f"{name} is {tense}retired"]
    bytes_of = [f"{name} at {target}" for target in found.targets]
    lines += [f"  {tense}deleted: {each}" for each in (*found.function_versions, *bytes_of)]
    lines += [f"  not deleted, no longer configured: {each}" for each in found.left]
    return [*lines, *(f"  kept, since images are never deleted: {each}" for each in found.images)]


def unquarantine(
    version: VersionArgument,
    why: WhyOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Lift the quarantine of a version whose registry shows the published bytes again.

    It is safe: the next poll quarantines other bytes again. It succeeds if
    the version is not quarantined.

    Example: syncd unquarantine sdxl@v3 --why "the bucket was restored"
    """
    from syncd.artifact.names import parse_model_at_version  # noqa: PLC0415 -- as above
    from syncd.reconcile.requests import operations  # noqa: PLC0415

    model, name = parse_model_at_version(version)
    with session(config, output, verbose=verbose) as opened:
        lifted = operations.unquarantine(opened.requester, model, name, why)
        text = f"{model}@{name} {'is no longer' if lifted else 'was not'} quarantined"
        opened.output.show({"version": f"{model}@{name}", "lifted": lifted}, lambda c: c.print(text, markup=False))
