"""`syncd publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syncd.artifact.names import ModelName, VersionName, parse_model_at_version
from syncd.cli import remote
from syncd.cli.output import Form, Output
from syncd.cli.remote import ServerOption, TimeoutOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, Session, VerboseOption, session
from syncd.errors import Invalid


def publish(
    model_at_version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Put this directory into the registry as that version first.", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the release is live, or has ended otherwise.")
    ] = False,
    timeout: TimeoutOption = 0.0,
    server: ServerOption = "",
    token_file: TokenFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Form.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Ask for a version to be brought to every region, proven and served.

    With a daemon running the wish is recorded and the daemon does the work: --wait follows it. With none the
    work is done here, by the same code. Asking again for what is under way or live is harmless. With --server a
    daemon elsewhere is asked over HTTP: no configuration is needed, but a token (SYNCD_TOKEN, or --token-file).

    Exit codes: 0 live (or, without --wait, recorded), 4 the model is on hold, 5 ended and not live, 6 timed out.

    Example: syncd publish sdxl@v2 --wait --timeout 1800
    """
    model, version = parse_model_at_version(model_at_version)
    if server:
        if source is not None:
            hint = "let the job write into the registry, then publish without --from"
            raise Invalid("--from writes into a registry of this machine, and --server is another", hint=hint)
        see = remote.See(Output(output), wait=wait, timeout_s=timeout)
        return remote.carry(server, token_file, lambda client: client.publish(model, version), see)
    from syncd.cli.carry import carry  # noqa: PLC0415 -- what works beside the record: a pipeline may not have it
    from syncd.reconcile import wish  # noqa: PLC0415
    from syncd.wiring import registries_of  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        if source is not None:
            _put(opened, source, model, version)
        wish.refuse_unknown(registries_of(opened.config), opened.fleet, model, version)
        return carry(
            opened,
            lambda: wish.publish(opened.wisher, model, version),
            wait=wait,
            timeout_s=timeout,
        )


def _put(opened: Session, source: Path, model: ModelName, version: VersionName) -> None:
    """Write a version into the registry of its model. Raises Invalid where that is not a directory; as `put` does."""
    from syncd.cli.put import put  # noqa: PLC0415 -- as above
    from syncd.config import DirectoryRegistrySettings  # noqa: PLC0415

    name = opened.fleet.registry_of(model)
    settings = opened.config.registries[name]
    if not isinstance(settings, DirectoryRegistrySettings):
        hint = "bring the version there with that registry's own tools, then publish it without --from"
        raise Invalid(
            f"--from writes into a directory, registry {name} of {model} is of kind {settings.kind}", hint=hint
        )
    put(source, settings.path / model / version)
