"""`syncd retire` and `syncd unquarantine`."""

from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

VersionArgument = Annotated[str, typer.Argument(metavar="MODEL@VERSION", show_default=False)]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, kept with the event.")]


def retire(
    version: VersionArgument,
    why: WhyOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Take a version out of service for good: its function versions and its bytes in every region are deleted.

    Refused while it is live, in flight, or the target of a rollback. Its history stays in the record. Repeating it
    resumes an interrupted retirement; publishing the version again copies it again.

    Example: syncd retire sdxl@v3 --why "license withdrawn"
    """
    from syncd.artifact.names import parse_model_at_version  # noqa: PLC0415 -- `--help` needs none of it
    from syncd.reconcile.drift.resolve import Justification  # noqa: PLC0415
    from syncd.reconcile.gc.retire import retire as take_away  # noqa: PLC0415

    model, name = parse_model_at_version(version)
    with session(config, output, verbose=verbose) as opened:
        done = take_away(opened.world(), model, name, Justification(opened.requester.who, why))
        document = {
            "version": done.version.id,
            "function_versions": done.function_versions,
            "targets": done.targets,
            "left": done.left,
            "images": done.images,
        }
        lines = [f"{model}@{name} is retired"]
        lines += [f"  deleted: {each}" for each in (*done.function_versions, *done.targets)]
        lines += [f"  not deleted, no longer configured: {each}" for each in done.left]
        lines += [f"  kept, since images are never deleted: {each}" for each in done.images]
        opened.output.show(document, lambda console: console.print("\n".join(lines), markup=False))


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
