"""`syncd publish`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from syncd.artifact.names import ModelName, VersionName, parse_model_at_version
from syncd.cli import complete, remote
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.remote import ServerOption, TimeoutOption, TokenFileOption
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session, settings
from syncd.errors import Invalid

if TYPE_CHECKING:
    from syncd.config import Config
    from syncd.reconcile.requests.version_names import NamedVersion

_LEFT_OUT_SHOWN: Final = 8


def publish(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL@VERSION",
            help="Or MODEL-VERSION; or MODEL alone, for its newest.",
            autocompletion=complete.versions,
            show_default=False,
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Put this directory into the registry as that version first.", show_default=False),
    ] = None,
    allow_secret: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-secret",
            metavar="PATH",
            help="Publish this file of --from although it seems to contain a credential. Repeatable.",
            show_default=False,
        ),
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
    """Release a version: copy it to every region, prove it, and serve it.

    With a daemon running the request is recorded and the daemon does the work: --wait follows it. Without one the
    work is done here, by the same code. To publish a version again that is in flight or live is harmless. --server
    uses a daemon elsewhere over HTTP: that needs a token (SYNCD_TOKEN, or --token-file) and no configuration, unless
    --from has to find the registry.

    sdxl@latest, or sdxl alone, is the newest version. Without `@` the name is split at `-`, `:`, `/` or `_` where the
    left side is a model that is served and the right side a version of it: sdxl-v2. With --from, the left side is the
    longest name of a model. The first line names the version that was found.

    --from leaves out hidden directories and the leftovers of tools (.git, .cache, __pycache__, .DS_Store), and
    refuses a text file that seems to contain a credential.

    Exit codes: 0 live (or, without --wait, recorded), 2 the name fits two versions, 3 there is no such model or
    version, 4 the model is on hold, 5 ended and not live, 6 timed out, 9 a quota would
    be exceeded.

    Example: syncd publish sdxl@v2 --wait --timeout 1800
    """
    printed = Output(output)
    if server:
        see = remote.Display(printed, wait=wait, timeout_s=timeout, is_named="@" not in name)
        if source is None and "@" not in name:
            return remote.execute(server, token_file, lambda client: client.publish_named(name), see)
        if source is None:
            model, version = parse_model_at_version(name)
        else:
            new = _uploaded(settings(config, verbose=verbose), printed, _Source(source, allow_secret), name)
            model, version, see.is_named = new.model, new.version, False
        return remote.execute(server, token_file, lambda client: client.publish(model, version), see)
    from syncd.cli.execute import execute  # noqa: PLC0415 -- what works beside the record: a pipeline may not have it
    from syncd.reconcile.requests import operations  # noqa: PLC0415
    from syncd.reconcile.requests.quotas import check_quotas  # noqa: PLC0415
    from syncd.reconcile.requests.version_names import named_version  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        if source is None:
            found = named_version(opened.read_from, name)
            _say(printed, name, found)
        else:
            found = _uploaded(opened.config, printed, _Source(source, allow_secret), name)
        operations.check_served(opened.topology, found.model)
        operations.check_known(opened.read_from, found.model, found.version)
        check_quotas(opened.read_from, found.model)
        return execute(
            opened,
            lambda: operations.publish(opened.requester, found.model, found.version),
            wait=wait,
            timeout_s=timeout,
        )


def _say(output: Output, name: str, found: NamedVersion) -> None:
    """Name the version that a name without `@` stands for; in JSON each document has it."""
    if "@" not in name and output.form is OutputFormat.TEXT:
        output.console.print(remote.NAMED.format(model=found.model, version=found.version), markup=False)


@dataclass(frozen=True, slots=True)
class _Source:
    """What `--from` names, and which of its files may contain a credential."""

    directory: Path
    allow_secret: list[str] | None


def _uploaded(config: Config, output: Output, source: _Source, name: str) -> NamedVersion:
    """Find what the name stands for, and upload the directory as that version. Raises as `_upload`, and NotFound."""
    from syncd.reconcile.requests.version_names import new_version  # noqa: PLC0415 -- as above
    from syncd.wiring import topology_of  # noqa: PLC0415

    found = new_version(topology_of(config), name)
    _say(output, name, found)
    _upload(config, output, source, found.model, found.version)
    return found


def _upload(config: Config, output: Output, source: _Source, model: ModelName, version: VersionName) -> None:
    """Upload a version into the registry of its model.

    Raises:
        NotFound: No registry has the model.
        Invalid: The registry is neither a directory nor a prefix of a bucket, or the directory cannot be a version.
        Corrupt: A file is not what its name says, or not whole.
        Conflict: A file has a credential in it, the version exists with other files, or the directory changed.
    """
    from syncd.cli.local_version import check_local  # noqa: PLC0415
    from syncd.cli.upload import source_directory  # noqa: PLC0415 -- as above
    from syncd.cli.upload.bucket import upload_bucket  # noqa: PLC0415
    from syncd.cli.upload.directory import upload_directory  # noqa: PLC0415
    from syncd.config import DirectoryRegistrySettings, OssRegistrySettings  # noqa: PLC0415
    from syncd.wiring import topology_of  # noqa: PLC0415
    from syncd.wiring_registries import source_of  # noqa: PLC0415

    name = topology_of(config).registry_of(model)
    registry = config.registries[name]
    if not isinstance(registry, (DirectoryRegistrySettings, OssRegistrySettings)):
        hint = "upload the version with that registry's own tools, then publish it without --from"
        what = f"registry {name} of {model} is of kind {registry.kind}"
        raise Invalid(f"--from writes into a directory or a bucket, {what}", hint=hint)
    scanned = source_directory.scan(source.directory)
    source_directory.check_no_secrets(source.directory, scanned.files, frozenset(source.allow_secret or ()))
    if scanned.left_out:
        shown = ", ".join(scanned.left_out[:_LEFT_OUT_SHOWN])
        more = len(scanned.left_out) - _LEFT_OUT_SHOWN
        output.note(f"left out of --from: {shown}{f' and {more} more' if more > 0 else ''}")
    for warning in check_local(source.directory, scanned.files, registry.taking.takes):
        output.warn(warning)
    if isinstance(registry, DirectoryRegistrySettings):
        upload_directory(source.directory, scanned.files, registry.path / model / version)
    else:
        upload_bucket(source_of(config, registry), source.directory, scanned.files, model, version)
