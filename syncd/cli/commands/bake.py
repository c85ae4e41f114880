"""`syncd bake`."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from syncd.artifact.names import parse_model_at_version
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat, size, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session, set_up_logs
from syncd.errors import Invalid
from syncd.http.auth import Auth, BasicAuth
from syncd.oci.build import LIMIT_BYTES, BuildSettings, BuiltImage, ImageBuilder
from syncd.oci.images import base_of
from syncd.oci.references import parse_image, parse_repository
from syncd.secret import Secret
from syncd.wiring import bandwidth_of
from syncd.wiring_images import login_at, repositories_of
from syncd.wiring_registries import registries_of

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.config import Config

PASSWORD_VARIABLE: Final = "SYNCD_IMAGE_PASSWORD"  # noqa: S105 -- the name of a variable
BASE_PASSWORD_VARIABLE: Final = "SYNCD_BASE_PASSWORD"  # noqa: S105 -- the same
_DIRECTORY: Final = "/models/{model}"


def bake(
    model_at_version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar="REPOSITORY", help="Where the image goes.", show_default=False)],
    base: Annotated[str, typer.Option("--base", metavar="IMAGE", help="What it is built on.", show_default=False)],
    directory: Annotated[
        str, typer.Option("--directory", help="Where the files are in it; {model} is the model's name.")
    ] = _DIRECTORY,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Bytes that an image may have.")] = LIMIT_BYTES,
    user: Annotated[
        str,
        typer.Option("--user", envvar="SYNCD_IMAGE_USER", help=f"For REPOSITORY; its password is {PASSWORD_VARIABLE}."),
    ] = "",
    base_user: Annotated[
        str,
        typer.Option(
            "--base-user",
            envvar="SYNCD_BASE_USER",
            help=f"For IMAGE, where it is not --user; its password is {BASE_PASSWORD_VARIABLE}.",
        ),
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Push an image: a version's files as layers over a base image. Without a Docker daemon, and without a disk.

    Layers that the repository has are not sent. A repeated call after a crash resumes, and ends with the same image.

    Example: syncd bake sdxl@v2 --to registry.local/team/sdxl --base registry.local/team/server:1.4
    """
    model, ref = parse_model_at_version(model_at_version)
    place = Path(directory.replace("{model}", model))
    if not place.is_absolute() or ".." in place.parts or place == Path("/"):
        raise Invalid(f"--directory: expected a directory below the root, got {directory!r}")
    with session(config, output, verbose=verbose) as opened:
        from syncd.reconcile.steps import build_image  # noqa: PLC0415 -- what follows is not for `--help`
        from syncd.state.content.layers import SqlUploadJournal  # noqa: PLC0415

        set_up_logs(opened.config, verbose=verbose)
        stop = threading.Event()
        logins = _logins(opened.config, (to, user), (base, base_user))
        record = opened.config.state.connect_url.render_as_string(hide_password=False)
        repository, source, wanted = repositories_of(to, base, *logins, record=record)
        found = build_image.pin_version(opened.state, opened.topology, registries_of(opened.config), (model, ref), stop)
        settings = BuildSettings(limit_bytes=limit, pace=bandwidth_of(opened.config))
        builder = ImageBuilder(repository, SqlUploadJournal(opened.state, str(repository)), settings, stop)
        baked = build_image.build(opened.state, found, builder, base_of(source, wanted), str(place))
        rows = [(layer.title, size(layer.size_bytes), layer.how, size(layer.bytes_sent)) for layer in baked.layers]
        opened.output.show(_document(baked), lambda console: _tell(console, baked, rows))
    return Exit.OK


def _logins(config: Config, to: tuple[str, str], base: tuple[str, str]) -> tuple[Auth | None, Auth | None]:
    """The logins for the push and for the base; each a user name and the variable of its password.

    A missing login is taken from the configuration, by the registry's address.
    """
    there, below = parse_repository(to[0]), parse_image(base[0])
    pushes = _login(to[1], "--user", PASSWORD_VARIABLE) or login_at(config, there)
    reads = _login(base[1], "--base-user", BASE_PASSWORD_VARIABLE)
    if reads is None and below.origin != there.origin:
        return pushes, login_at(config, below)
    return pushes, reads


def _login(user: str, option: str, variable: str) -> BasicAuth | None:
    """Raises Invalid: The user or the password is missing."""
    password = os.environ.get(variable, "")
    if bool(user) != bool(password):
        raise Invalid(
            f"{'a user is given and no password' if user else 'a password is given and no user'} with {option}",
            hint=f"give {option} and set {variable}, or neither",
        )
    return BasicAuth(user, Secret(password)) if user else None


def _document(baked: BuiltImage) -> Mapping[str, object]:
    return {
        "image": baked.reference,
        "tag": baked.tag,
        "digest": f"sha256:{baked.digest}",
        "base": baked.base,
        "base_digest": f"sha256:{baked.base_digest}",
        "bytes_sent": sum(layer.bytes_sent for layer in baked.layers),
        "layers": [
            {
                "digest": f"sha256:{layer.digest}",
                "size_bytes": layer.size_bytes,
                "title": layer.title,
                "how": layer.how,
                "bytes_sent": layer.bytes_sent,
            }
            for layer in baked.layers
        ],
    }


def _tell(console: Console, baked: BuiltImage, rows: Sequence[Sequence[object]]) -> None:
    tabulate(console, ("LAYER", "SIZE", "HOW", "SENT"), rows)
    console.print(baked.reference)
