"""`syncd local up`: the local cloud."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat, tabulate
from syncd.cli.session import OutputOption
from syncd.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.localcloud.environment import LocalEnvironment


_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")

app = typer.Typer(
    help="OSS and Function Compute on this machine.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """OSS and Function Compute on this machine."""


@app.command()
def up(
    root: Annotated[Path, typer.Option("--root", help="Directory of the objects and functions.")] = Path("local-cloud"),
    regions: Annotated[
        str, typer.Option("--regions", help="Comma-separated list of regions.")
    ] = "cn-hangzhou,cn-shanghai",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the first region; 0 takes free ports.")
    ] = 9001,
    seed: Annotated[
        Path | None, typer.Option("--seed", help="TOML file with the initial buckets and functions.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print a configuration for this cloud, and exit.")
    ] = False,
    output: OutputOption = OutputFormat.TEXT,
) -> int:
    """Serve a local cloud on loopback until interrupted. Objects, functions and aliases survive a restart.

    Any client of OSS or of Function Compute 2023-03-30 can use it: signatures are checked, and invalid
    requests get the real services' errors. POST /_local/faults on any endpoint injects faults.

    Example: syncd local up --root ./cloud --regions cn-hangzhou,ap-southeast-1 --port 9001
    """
    names = region_names(regions)
    if print_config:
        return _print_config(names, port, root, Output(output))
    from syncd.localcloud.environment import LocalEnvironment  # noqa: PLC0415 -- `--help` needs none of it

    ports = {name: port + index for index, name in enumerate(names)} if port else {}
    environment = LocalEnvironment(root.absolute(), names, ports)
    try:
        environment.start()
    except OSError as taken:
        raise Unavailable(
            f"cannot serve: {taken}", hint="stop the local cloud that uses it, or choose another --port or --root"
        ) from taken
    try:
        if seed is not None:
            _seed(environment, seed)
        stopped = _stop_signal()  # installed before the endpoints are shown
        _show(environment, Output(output))
        stopped.wait()
    finally:
        environment.stop()
    return Exit.OK


def _print_config(names: list[str], port: int, root: Path, output: Output) -> int:
    from syncd.cli.local_config import config_text  # noqa: PLC0415 -- as above

    if not port:
        raise Invalid("--print-config needs a port that is known", hint="name one with --port")
    endpoints = {name: f"http://127.0.0.1:{port + index}" for index, name in enumerate(names)}
    text = config_text(root.absolute().parent, endpoints)
    output.show({"config": text}, lambda console: console.print(text, markup=False, end=""))
    return Exit.OK


def region_names(regions: str) -> list[str]:
    """The regions of a comma-separated list. Raises Invalid."""
    names = [name.strip() for name in regions.split(",") if name.strip()]
    wrong = next((name for name in names if not _REGION.fullmatch(name)), None)
    if wrong is not None or not names or len(set(names)) < len(names):
        raise Invalid(
            f"--regions {regions!r} is not a list of regions",
            hint="expected region ids such as cn-hangzhou,ap-southeast-1",
        )
    return names


def _seed(environment: LocalEnvironment, seed: Path) -> None:
    from syncd.localcloud.fc.errors import FcError  # noqa: PLC0415 -- as above

    try:
        environment.seed(seed)
    except KeyError as lacking:
        hint = "see the example in docs/how-to/local-cloud.md"
        raise Invalid(f"--seed {seed}: {lacking} is missing", hint=hint) from lacking
    except (OSError, ValueError, TypeError, AttributeError, FcError) as wrong:  # the last but one: not a table
        raise Invalid(f"--seed {seed}: {wrong}", hint="see the example in docs/how-to/local-cloud.md") from wrong


def _show(environment: LocalEnvironment, output: Output) -> None:
    cloud = environment.cloud
    endpoints = {region: cloud.endpoint(region) for region in environment.regions}
    document = {
        "endpoints": endpoints,
        "access_key_id": cloud.access_key_id,
        "access_key_secret": cloud.access_key_secret,
        "account_id": cloud.account_id,
        "root": str(environment.root),
        "nas_root": str(environment.nas_root),
    }

    def text(console: Console) -> None:
        tabulate(console, ("REGION", "OSS AND FUNCTION COMPUTE"), list(endpoints.items()))
        keys = f"access key {cloud.access_key_id}, secret {cloud.access_key_secret}, account {cloud.account_id}"
        console.print(f"{keys}\nfiles below {environment.root}; Ctrl-C stops it", markup=False)

    output.show(document, text)


def _stop_signal() -> threading.Event:
    """Set by SIGTERM or SIGINT."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped
