"""`syncd publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.artifact.names import ModelName, VersionName, parse_model_at_version
from syncd.cli import remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TimeoutOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session, settings
from syncd.errors import Invalid

if TYPE_CHECKING:
    from syncd.config import Config


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
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Ask for a version to be brought to every region, proven and served.

    With a daemon running the wish is recorded and the daemon does the work: --wait follows it. With none the
    work is done here, by the same code. Asking again for what is under way or live is harmless. With --server a
    daemon elsewhere is asked over HTTP: no configuration is needed, unless --from has to find the registry, but a
    token is (SYNCD_TOKEN, or --token-file).

    Exit codes: 0 live (or, without --wait, recorded), 4 the model is on hold, 5 ended and not live, 6 timed out.

    Example: syncd publish sdxl@v2 --wait --timeout 1800
    """
    model, version = parse_model_at_version(model_at_version)
    if server:
        if source is not None:
            _put(settings(config, verbose=verbose), source, model, version)
        see = remote.Display(Output(output), wait=wait, timeout_s=timeout)
        return remote.execute(server, token_file, lambda client: client.publish(model, version), see)
    from syncd.cli.execute import execute  # noqa: PLC0415 -- what works beside the record: a pipeline may not have it
    from syncd.reconcile.requests import operations  # noqa: PLC0415
    from syncd.wiring import registries_of  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        if source is not None:
            _put(opened.config, source, model, version)
        operations.check_known(registries_of(opened.config), opened.topology, model, version)
        return execute(
            opened,
            lambda: operations.publish(opened.requester, model, version),
            wait=wait,
            timeout_s=timeout,
        )


def _put(config: Config, source: Path, model: ModelName, version: VersionName) -> None:
    """Write a version into the registry of its model, as `put` and `drop` do.

    Raises:
        NotFound: No registry has the model.
        Invalid: It is neither a directory nor a prefix of a bucket.
    """
    from syncd.cli.upload_bucket import upload_bucket  # noqa: PLC0415 -- as above
    from syncd.cli.upload_directory import upload_directory  # noqa: PLC0415
    from syncd.config import DirectoryRegistrySettings, OssRegistrySettings  # noqa: PLC0415
    from syncd.wiring import source_of, topology_of  # noqa: PLC0415

    name = topology_of(config).registry_of(model)
    found = config.registries[name]
    if isinstance(found, DirectoryRegistrySettings):
        upload_directory(source, found.path / model / version)
    elif isinstance(found, OssRegistrySettings):
        upload_bucket(source_of(config, found), source, model, version)
    else:
        hint = "bring the version there with that registry's own tools, then publish it without --from"
        what = f"registry {name} of {model} is of kind {found.kind}"
        raise Invalid(f"--from writes into a directory or a bucket, {what}", hint=hint)
